/** A fixed number of permits, such as the jobs that a process works on at the same time. Handed out first come, first served. */
export class Slots {
  readonly #waiting: (() => void)[] = [];
  /** How many there are. */
  readonly total: number;
  #free: number;

  constructor(count: number) {
    this.total = count;
    this.#free = count;
  }

  /** How many are held. */
  get used(): number {
    return this.total - this.#free;
  }

  /**
   * Waits for a slot.
   *
   * @returns the function that gives it back.
   * @throws the signal's reason when it is aborted first.
   */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return this.#once();
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const give = () => resolve();
    const abort = () => {
      const index = this.#waiting.indexOf(give);
      if (index < 0) return; // the slot was handed over in the same turn
      this.#waiting.splice(index, 1);
      reject(signal?.reason);
    };
    this.#waiting.push(give);
    signal?.addEventListener('abort', abort, { once: true });
    await promise.finally(() => signal?.removeEventListener('abort', abort));
    return this.#once();
  }

  #once(): () => void {
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    };
  }
}
