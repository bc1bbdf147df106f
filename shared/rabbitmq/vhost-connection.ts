import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ChannelModel, ConfirmChannel } from 'amqplib';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';
import { closeConnection, settledWithin } from './connect-vhost.ts';
import { type Link, type LinkOptions, openLink } from './vhost-link.ts';

const firstDelay = 100;
const longestDelay = 10_000;

/** An acknowledgement can be lost when its connection closes right after it; a short pause (ms) lets it out. */
export const acknowledgementPause = 200;

/** How long (ms) a connection that gave way waits for confirmations of what was published on it. */
const confirmTimeout = 30_000;

/** `setup` and `name`: see LinkOptions. */
export interface VhostConnectionOptions extends LinkOptions {
  /** Asked before every attempt, so that a reconnection uses the credentials of now; this is why amqplib's own recovery, which keeps the first ones, is not used. */
  target(): Promise<RabbitmqTarget>;
  /** Called when the broker refused what `target` said, so that it is not said again from a cache. */
  refused?(): void;
  /** Waits for the permission to connect, and gives what ends it. */
  turn?(target: RabbitmqTarget, signal: AbortSignal): Promise<() => void>;
  /** Called when another connection has taken over from this one: ends what `setup` began on it, and returns when its work is done. */
  release?(model: ChannelModel): Promise<void>;
  metrics?: Metrics | undefined;
}

/** One connection to one vhost. It reconnects, with growing and jittered delays, until it is closed, and follows its target when that changes. */
export class VhostConnection {
  readonly #options: VhostConnectionOptions;
  readonly #closing = new AbortController();
  #link: Link | undefined;
  /** Links whose place another one has taken, until their last work is done. */
  readonly #retiring = new Set<Link>();
  #replacing: Promise<boolean> | undefined;
  #loop: Promise<void> | undefined;
  #ready = Promise.withResolvers<void>();
  /** What was last tried, and why it failed. */
  #tried: RabbitmqTarget | undefined;
  #failure: unknown;
  /** Ends the pause before the next attempt. */
  #pause: AbortController | undefined;

  constructor(options: VhostConnectionOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#link !== undefined;
  }

  /** The connection as it stands now, with the channel that it publishes on. Others may take its place. */
  get link(): Pick<Link, 'model' | 'publishing'> | undefined {
    return this.#link;
  }

  /** Starts connecting; returns at once. */
  open(): void {
    this.#loop ??= this.#stayConnected();
  }

  /**
   * The channel on which this connection publishes, with confirms. Waits for a connection that is coming.
   *
   * @throws MatcherError `BROKER_UNAVAILABLE` after `timeoutMs`.
   */
  async publishChannel(timeoutMs = 10_000): Promise<ConfirmChannel> {
    const deadline = Date.now() + timeoutMs;
    while (!this.#link) {
      const left = deadline - Date.now();
      if (left <= 0 || this.#closing.signal.aborted) {
        const reason = this.#failure === undefined ? '' : ` (${errorMessage(this.#failure)})`;
        throw new MatcherError('BROKER_UNAVAILABLE', `The tenant’s RabbitMQ vhost is not reachable${reason}`, {
          remedy: 'not-now',
          cause: this.#failure,
        });
      }
      const timer = new AbortController();
      await Promise.race([this.#ready.promise, delay(left, undefined, { signal: timer.signal }).catch(() => {})]);
      timer.abort();
    }
    return this.#link.publishing;
  }

  /**
   * Follows a target that may have changed. A new connection takes over once it stands completely; then the old one finishes its work and is
   * closed. As long as the new one can't be made, the old one goes on: the next refresh tries again.
   *
   * @returns whether a new connection has taken over.
   */
  async refresh(target: RabbitmqTarget): Promise<boolean> {
    // A change during a replacement comes after it.
    await this.#replacing;
    const link = this.#link;
    if (!link) {
      if (!isDeepStrictEqual(this.#tried, target)) this.#pause?.abort();
      return false;
    }
    if (isDeepStrictEqual(link.target, target)) return false;
    return await this.#replace(link, target);
  }

  /** Lets a new connection to the same target take over. */
  async rebuild(): Promise<boolean> {
    const link = this.#link;
    return link !== undefined && (await this.#replace(link, link.target));
  }

  /** Closes for good. Consumers have to be cancelled before, and their acknowledgements sent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#ready.resolve();
    const links = [...this.#retiring, ...(this.#link ? [this.#link] : [])];
    await Promise.all(links.map(({ model }) => closeConnection(model)));
    await this.#loop;
  }

  async #stayConnected(): Promise<void> {
    const { log, metrics, refused, target } = this.#options;
    for (let failures = 0; !this.#closing.signal.aborted; ) {
      try {
        this.#take(await this.#unlessClosed(this.#connect(target)));
        failures = 0;
        const reason = await this.#unlessClosed(this.#end());
        log.warn({ reason }, 'lost the connection to the vhost');
      } catch (error) {
        if (this.#closing.signal.aborted) break;
        this.#failure = error;
        metrics?.connectionErrors.inc({ resource: 'rabbitmq', code: connectionErrorCode(error) });
        if (isAccessRefused(error)) refused?.();
        log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'cannot connect to the vhost');
      }
      const pause = Math.min(firstDelay * 2 ** failures++, longestDelay) * (0.5 + Math.random() / 2);
      this.#pause = new AbortController();
      const signal = AbortSignal.any([this.#closing.signal, this.#pause.signal]);
      await delay(pause, undefined, { signal }).catch(() => {});
      this.#pause = undefined;
    }
  }

  async #connect(askTarget: () => Promise<RabbitmqTarget>): Promise<Link> {
    const target = await askTarget();
    this.#tried = target;
    const endTurn = await this.#options.turn?.(target, this.#closing.signal);
    try {
      return await openLink(target, this.#options, this.#closing.signal);
    } finally {
      endTurn?.();
    }
  }

  #take(link: Link): void {
    // A closing that came in the same moment has not seen it.
    if (this.#closing.signal.aborted) return void closeConnection(link.model);
    this.#link = link;
    this.#failure = undefined;
    this.#ready.resolve();
    this.#ready = Promise.withResolvers();
    void link.ended.then(() => {
      if (this.#link === link) this.#link = undefined;
    });
  }

  /** The reason why there is no connection any more: links that gave way to another one don't count. */
  async #end(): Promise<string> {
    let reason = '';
    for (let link = this.#link; link; link = this.#link) reason = await link.ended;
    return reason;
  }

  #replace(old: Link, target: RabbitmqTarget): Promise<boolean> {
    const { log, metrics } = this.#options;
    this.#replacing ??= (async () => {
      const link = await this.#connect(async () => target);
      if (this.#link !== old) {
        // The old one broke meanwhile: its successor comes, or has come, the other way.
        this.#retire(link);
        return false;
      }
      this.#take(link);
      this.#retire(old);
      metrics?.rotations.inc({ resource: 'rabbitmq' });
      log.info('a new connection to the vhost has taken over');
      return true;
    })()
      .catch((error) => {
        if (this.#closing.signal.aborted) return false;
        metrics?.connectionErrors.inc({ resource: 'rabbitmq', code: connectionErrorCode(error) });
        log.warn({ reason: errorMessage(error) }, 'no new connection to the vhost for now; the old one goes on');
        return false;
      })
      .finally(() => {
        this.#replacing = undefined;
      });
    return this.#replacing;
  }

  #retire(link: Link): void {
    const { model, publishing, ended } = link;
    this.#retiring.add(link);
    void (async () => {
      await this.#options.release?.(model);
      await settledWithin(confirmTimeout, Promise.race([publishing.waitForConfirms(), ended]));
      await delay(acknowledgementPause);
      await closeConnection(model);
    })()
      .catch((error) => this.#options.log.error({ err: error }, 'an old connection could not be closed in order'))
      .finally(() => this.#retiring.delete(link));
  }

  /** A broker that does not answer must not hold up the closing: what it is still asked for takes itself down. */
  async #unlessClosed<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#closing;
    const { promise: closed, reject } = Promise.withResolvers<never>();
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    return await Promise.race([promise, closed]).finally(() => signal.removeEventListener('abort', abort));
  }
}

/** Whether the broker was there and said no: to the credentials, or (a close in place of an open) to the vhost. */
export function isAccessRefused(error: unknown): boolean {
  return /ACCESS.REFUSED|NOT.ALLOWED|ConnectionClose/.test(errorMessage(error));
}

/** amqplib puts the broker's words into the message. */
function connectionErrorCode(error: unknown): string {
  return isAccessRefused(error) ? 'ACCESS_REFUSED' : errorCode(error);
}
