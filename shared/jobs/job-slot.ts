import type { FairSlots, SlotUser } from './fair-slots.ts';

/** How long (ms) a delivery that waits for its tenant's database keeps its slot. One that is there answers much sooner. */
const patienceMs = 1000;

/** How long (ms) others are kept from beginning so that a suspect job can be alone. */
const emptyWithinMs = 2000;

/** How long (ms) a suspect job stays alone: what brings a process down does so at once, or by itself. */
const aloneMs = 10_000;

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
  readonly #slots: FairSlots;
  readonly #user: SlotUser;
  readonly #database: DatabaseHealth;
  #release: (() => void) | undefined;
  #open: (() => void) | undefined;

  constructor(slots: FairSlots, user: SlotUser, database: DatabaseHealth) {
    this.#slots = slots;
    this.#user = user;
    this.#database = database;
  }

  get held(): boolean {
    return this.#release !== undefined;
  }

  /**
   * Comes before anything else.
   *
   * @param patienceMs how long it may take.
   * @throws MatcherError `SLOTS_BUSY` when it takes longer; the signal's reason when it is aborted first.
   */
  async reserve(signal: AbortSignal, patienceMs: number): Promise<void> {
    signal.throwIfAborted();
    if (this.#database.silent) return;
    this.#release = await this.#slots.acquire(this.#user, signal, patienceMs);
  }

  /**
   * The database has answered and the work begins, in a slot.
   *
   * @throws a signal's reason when it is aborted first.
   */
  async begin(...signals: AbortSignal[]): Promise<void> {
    this.#database.silent = false;
    this.#release ??= await this.#slots.acquire(this.#user, AbortSignal.any(signals));
  }

  /**
   * Makes this the only job at work in the process, for its first seconds.
   *
   * @returns false when the others did not end soon.
   * @throws the signal's reason when it is aborted first.
   */
  async beAlone(signal: AbortSignal): Promise<boolean> {
    this.#open = await this.#slots.alone(emptyWithinMs, signal);
    if (!this.#open) return false;
    setTimeout(() => this.#letOthersIn(), aloneMs).unref();
    return true;
  }

  give(): void {
    this.#release?.();
    this.#release = undefined;
    this.#letOthersIn();
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

  #letOthersIn(): void {
    this.#open?.();
    this.#open = undefined;
  }
}
