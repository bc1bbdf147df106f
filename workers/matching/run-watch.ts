import type { WorkControl } from '@matcher/shared/jobs/definition.ts';

/** Between two looks at how much memory there is and two words about the progress (ms). */
const INTERVAL = 250;

/** Keeps a run cancellable, says how far it is, at a bounded rate, and notes the most memory that was seen. */
export class RunWatch {
  readonly #control: Pick<WorkControl, 'cancellation' | 'progress'>;
  #stage = '';
  #total: number | null = null;
  #looked = Number.NEGATIVE_INFINITY;
  /** Bytes that the process held at most when it was looked at. */
  peak = 0;

  constructor(control: Pick<WorkControl, 'cancellation' | 'progress'>) {
    this.#control = control;
  }

  /** @param total as far as it is known; it may turn out to be less. */
  begin(stage: string, total: number | null): void {
    this.#stage = stage;
    this.#total = total;
    this.#looked = Number.NEGATIVE_INFINITY;
    this.at(0);
  }

  /**
   * To be called for every piece of work of some milliseconds.
   *
   * @throws the reason of the cancellation.
   */
  at(done: number): void {
    const { cancellation, progress } = this.#control;
    if (cancellation.aborted) throw cancellation.reason;
    const now = performance.now();
    if (now - this.#looked < INTERVAL) return;
    this.#looked = now;
    this.peak = Math.max(this.peak, process.memoryUsage.rss());
    const total = this.#total === null ? null : Math.max(this.#total, done);
    progress({ stage: this.#stage, done, total });
  }

  get cancellation(): WorkControl['cancellation'] {
    return this.#control.cancellation;
  }
}
