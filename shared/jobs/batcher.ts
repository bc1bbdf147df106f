/** What is asked for one at a time. */
interface Asked<I, O> {
  input: I;
  resolve(output: O): void;
  reject(error: unknown): void;
}

/**
 * Answers many small questions with few statements: what is asked while others are being answered is answered together, as soon as these are. A single
 * question is never kept waiting for company, so that it costs no latency where there is no load.
 */
export class Batcher<I, O> {
  readonly #answer: (inputs: readonly I[]) => Promise<readonly O[]>;
  readonly #atOnce: number;
  readonly #most: number;
  #asked: Asked<I, O>[] = [];
  #running = 0;

  /**
   * @param answer gives one output for each input, in their order.
   * @param atOnce batches under way at the same time.
   * @param most questions of one batch.
   */
  constructor(answer: (inputs: readonly I[]) => Promise<readonly O[]>, atOnce = 2, most = 100) {
    this.#answer = answer;
    this.#atOnce = atOnce;
    this.#most = most;
  }

  /** @throws what `answer` throws when it is asked this alone: what makes a batch fail is one of its questions, and the others are not to suffer for it. */
  ask(input: I): Promise<O> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ input, resolve, reject });
      this.#go();
    });
  }

  #go(): void {
    if (this.#running >= this.#atOnce || this.#asked.length === 0) return;
    const batch = this.#asked.splice(0, this.#most);
    this.#running++;
    void this.#settle(batch).finally(() => {
      this.#running--;
      this.#go();
    });
  }

  async #settle(batch: readonly Asked<I, O>[]): Promise<void> {
    try {
      const outputs = await this.#answer(batch.map(({ input }) => input));
      batch.forEach(({ resolve }, i) => {
        resolve(outputs[i] as O);
      });
    } catch (error) {
      if (batch.length === 1) batch[0]?.reject(error);
      else for (const one of batch) await this.#settle([one]);
    }
  }
}
