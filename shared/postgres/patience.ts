/** A timer of Node's that is told to take longer fires at once. */
const longestTimer = 2 ** 31 - 1;

/** Something that is waited for, and what is done when that takes too long. */
export interface Wait {
  readonly until: number;
  readonly giveUp: () => void;
}

/** An equally long wait for each of many answers, with one timer for all of them instead of one for each. */
export class Patience {
  readonly #limitMs: number;
  /** In order of coming, which is that of their ends. */
  readonly #waits = new Set<Wait>();
  #timer: NodeJS.Timeout | undefined;

  /** @param limitMs 0 is without end. */
  constructor(limitMs: number) {
    this.#limitMs = limitMs === 0 ? Number.POSITIVE_INFINITY : Math.min(limitMs, longestTimer);
  }

  /** @param giveUp called when the wait has not been ended in time. */
  begin(giveUp: () => void): Wait {
    const wait = { until: performance.now() + this.#limitMs, giveUp };
    this.#waits.add(wait);
    if (!this.#timer && this.#limitMs <= longestTimer) this.#look(this.#limitMs);
    return wait;
  }

  /** @returns false when it was given up before. */
  end(wait: Wait): boolean {
    return this.#waits.delete(wait);
  }

  /** Between two looks nothing can have become due: whoever comes later waits longer. */
  #look(afterMs: number): void {
    const look = () => {
      this.#timer = undefined;
      for (const wait of this.#waits) {
        const left = wait.until - performance.now();
        if (left >= 1) {
          this.#look(left);
          return;
        }
        this.#waits.delete(wait);
        wait.giveUp();
      }
    };
    this.#timer = setTimeout(look, afterMs).unref();
  }
}
