import type { TenantId } from '../tenancy/tenant-id.ts';
import type { PoolPlace } from './pool-place.ts';

/** Somebody who needs a place among the pools: a lease, or the successor of a pool. */
export interface Waiter {
  readonly tenantId: TenantId;
  /** Of a successor: the pool that gives way to it. It needs a place of its own. */
  readonly successorOf?: PoolPlace;
  admit(place: PoolPlace): void;
  /** Is told why it gets no place. */
  refuse(error: Error): void;
}

/** First come, first served, and nobody waits longer than `maxWaitMs`. */
export class PlaceQueue {
  /** In order of coming. */
  readonly #waiting = new Map<Waiter, NodeJS.Timeout>();
  readonly #maxWaitMs: number;
  readonly #late: (waiter: Waiter) => void;

  /** @param late called for each who waited too long and has been taken out. */
  constructor(maxWaitMs: number, late: (waiter: Waiter) => void) {
    this.#maxWaitMs = maxWaitMs;
    this.#late = late;
  }

  get length(): number {
    return this.#waiting.size;
  }

  /** In order of coming; whoever is passed may be taken out. */
  [Symbol.iterator](): IterableIterator<Waiter> {
    return this.#waiting.keys();
  }

  join(waiter: Waiter): void {
    const timer = setTimeout(() => {
      this.leave(waiter);
      this.#late(waiter);
    }, this.#maxWaitMs);
    this.#waiting.set(waiter, timer);
  }

  leave(waiter: Waiter): void {
    clearTimeout(this.#waiting.get(waiter));
    this.#waiting.delete(waiter);
  }

  /** Takes out those who are not to wait any longer. */
  refuse(error: Error, whom: (waiter: Waiter) => boolean): void {
    for (const waiter of [...this].filter(whom)) {
      this.leave(waiter);
      waiter.refuse(error);
    }
  }
}
