import type { Cancellation, Progress } from './types.ts';

/** Steps between two looks at the clock and the signal: some milliseconds of work. */
const STEPS_BETWEEN_CHECKS = 4096;
const MS_BETWEEN_REPORTS = 250;

/** Keeps a run cancellable and its progress reports rare. */
export class Pace {
  readonly #signal: Cancellation | undefined;
  readonly #report: () => void;
  #steps = 0;
  #reported = performance.now();

  constructor(
    signal: Cancellation | undefined,
    onProgress: ((progress: Progress) => void) | undefined,
    progress: () => Progress,
  ) {
    this.#signal = signal;
    this.#report = onProgress === undefined ? () => {} : () => onProgress(progress());
  }

  /** To be called for every small piece of work. */
  step(): void {
    if (++this.#steps >= STEPS_BETWEEN_CHECKS) this.check();
  }

  /**
   * To be called before and after a large piece of work.
   *
   * @throws the signal's reason when it is aborted.
   */
  check(): void {
    this.#steps = 0;
    if (this.#signal?.aborted) throw this.#signal.reason;
    const now = performance.now();
    if (now - this.#reported < MS_BETWEEN_REPORTS) return;
    this.#reported = now;
    this.#report();
  }
}
