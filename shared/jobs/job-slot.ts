import type { Slots } from '../slots.ts';

/** How long (ms) a delivery that waits for its tenant's database keeps its slot. One that is there answers much sooner. */
const patienceMs = 1000;

/**
 * A delivery's slot among those of the process. Slots are for work: one that waits for a database that went silent has its slot given to others,
 * so that a tenant's outage is that tenant's.
 */
export class JobSlot {
  readonly #slots: Slots;
  readonly #lent: () => void;
  #release: (() => void) | undefined;

  /** @param lent called when a wait has cost it the slot. */
  constructor(slots: Slots, lent: () => void) {
    this.#slots = slots;
    this.#lent = lent;
  }

  get held(): boolean {
    return this.#release !== undefined;
  }

  /** @throws the signal's reason when it is aborted first. */
  async take(signal: AbortSignal): Promise<void> {
    this.#release ??= await this.#slots.acquire(signal);
  }

  give(): void {
    this.#release?.();
    this.#release = undefined;
  }

  /**
   * Waits for an answer. When that takes long the slot is gone afterwards; whoever begins to work takes one again.
   *
   * @param counts asked when it has taken long: whether the wait is one for the tenant's own database.
   */
  async giveWhileSilent<T>(answer: Promise<T>, counts: () => boolean = () => true): Promise<T> {
    const timer = setInterval(() => {
      if (!counts()) return;
      clearInterval(timer);
      this.give();
      this.#lent();
    }, patienceMs);
    try {
      return await answer;
    } finally {
      clearInterval(timer);
    }
  }
}
