import { setTimeout as delay } from 'node:timers/promises';
import { errorCode, errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';

const firstPause = 500;
const longestPause = 30_000;

export interface OutboxSenderOptions {
  /** Sends what is in the outbox now. */
  drain(): Promise<void>;
  /** How long (ms) it waits between two sendings, for more to come together. */
  pauseMs(): number;
  /** Once it is aborted, nothing is waited for and nothing is tried again. */
  ending: AbortSignal;
  log: Logger;
}

/**
 * Sends one tenant's committed events, beside its jobs: no job waits for a broker's confirmation, and many jobs' events leave together. What can't
 * leave now is tried again after growing pauses; what a process leaves behind is sent by whoever opens the tenant next.
 */
export class OutboxSender {
  readonly #options: OutboxSenderOptions;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(options: OutboxSenderOptions) {
    this.#options = options;
  }

  /** Something was committed: it is sent soon. */
  poke(): void {
    this.#again = true;
    this.#running ??= this.#send();
  }

  /** Ends when nothing is being sent; with `ending` aborted, that is soon. Never rejects. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #send(): Promise<void> {
    const { drain, pauseMs, ending, log } = this.#options;
    for (let failures = 0; this.#again; ) {
      this.#again = false;
      let pause = pauseMs();
      try {
        await drain();
        failures = 0;
      } catch (error) {
        log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'events stay in the outbox for now');
        if (ending.aborted) break;
        this.#again = true;
        pause = Math.min(firstPause * 2 ** failures++, longestPause) * (0.5 + Math.random() / 2);
      }
      if (pause > 0) await delay(pause, undefined, { signal: ending }).catch(() => {});
    }
    // In the same turn as the last look: whoever pokes from now on starts anew.
    this.#running = undefined;
  }
}
