import type { JobType } from './contracts/job-types.ts';

/** One of a tenant's queues as it was found at one moment. */
export interface QueueLook {
  type: JobType;
  /** Messages that wait for a consumer. */
  ready: number;
  /** Deliveries that have come in, ever. */
  delivered: number;
  /** Whether the broker may send another one now. */
  hasRoom: boolean;
}

/** What is to be renewed; each time that it does not help, more. */
export const remedies = ['channel', 'connection', 'process'] as const;
export type Remedy = (typeof remedies)[number];

/**
 * Notices consumers that are subscribed and deaf: the socket lives, heartbeats come, and deliveries don't. Deaf is whose queue had
 * messages waiting, and itself room for one, at two looks in a row, and who was sent nothing in between. (With other processes on the queue nothing would wait
 * either: the broker sends to whoever has room.)
 */
export class DeafnessWatch {
  /** Deliveries at the last look, of those queues that looked as if the next one should come any moment. */
  readonly #expecting = new Map<JobType, number>();
  #unanswered = 0;
  #tried = 0;

  /** @returns what to renew now. */
  judge(looks: readonly QueueLook[]): Remedy | undefined {
    this.#unanswered = 0;
    let deaf = false;
    for (const { type, ready, delivered, hasRoom } of looks) {
      const expecting = ready > 0 && hasRoom;
      if (expecting && this.#expecting.get(type) === delivered) deaf = true;
      if (expecting) this.#expecting.set(type, delivered);
      else this.#expecting.delete(type);
    }
    if (!deaf) {
      this.#tried = 0;
      return undefined;
    }
    return remedies[Math.min(this.#tried++, remedies.length - 1)];
  }

  /**
   * The broker was asked and did not answer. That may be its own affair (a queue without a majority), so the process is not ended for it, but
   * a connection on which no question is answered is not trusted twice.
   */
  unanswered(): Remedy | undefined {
    this.#unanswered++;
    if (this.#unanswered < 2) return undefined;
    this.#unanswered = 0;
    return 'connection';
  }
}
