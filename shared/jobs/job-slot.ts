import type { Slots } from '../slots.ts';

/** How long (ms) a delivery that waits for its tenant's database keeps its slot. One that is there answers much sooner. */
const patienceMs = 1000;

/** What a tenant's deliveries know of its database. */
export interface DatabaseHealth {
  /** It did not answer lately. */
  silent: boolean;
}

/**
 * A delivery's slot among those of the process. Slots are for work: one that waits for a database that went silent goes to others, and until it
 * answers again, that tenant's deliveries wait for it without one. So a tenant's outage is that tenant's only.
 */
export class JobSlot {
  readonly #slots: Slots;
  readonly #database: DatabaseHealth;
  #release: (() => void) | undefined;

  constructor(slots: Slots, database: DatabaseHealth) {
    this.#slots = slots;
    this.#database = database;
  }

  get held(): boolean {
    return this.#release !== undefined;
  }

  /**
   * Comes before anything else.
   *
   * @throws the signal's reason when it is aborted first.
   */
  async reserve(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#database.silent) await this.#take(signal);
  }

  /**
   * The database has answered and the work begins, in a slot.
   *
   * @throws the signal's reason when it is aborted first.
   */
  async begin(signal: AbortSignal): Promise<void> {
    this.#database.silent = false;
    await this.#take(signal);
  }

  give(): void {
    this.#release?.();
    this.#release = undefined;
  }

  /**
   * Waits for the database. When that takes long the slot is not held any more.
   *
   * @param counts asked when it has taken long: whether it is really the tenant's database that is waited for.
   */
  async giveWhileSilent<T>(answer: Promise<T>, counts: () => boolean = () => true): Promise<T> {
    const timer = setInterval(() => {
      if (!counts()) return;
      clearInterval(timer);
      this.#database.silent = true;
      this.give();
    }, patienceMs);
    try {
      return await answer;
    } finally {
      clearInterval(timer);
    }
  }

  async #take(signal: AbortSignal): Promise<void> {
    this.#release ??= await this.#slots.acquire(signal);
  }
}
