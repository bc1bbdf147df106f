import { remedyFor } from '../errors.ts';

/** What is asked for one at a time. */
interface Asked<I, O> {
  input: I;
  resolve(output: O): void;
  reject(error: unknown): void;
}

/** Batches under way at the same time, and questions of one batch. */
const atOnce = 2;
const most = 100;

/**
 * Answers many small questions with few statements: what is asked in the same turn of the event loop is answered together, and so is what is asked while others
 * are being answered, as soon as these are. A single question is never kept waiting for company, so that it costs no latency where there is no load.
 */
export class Batcher<I, O> {
  readonly #answer: (inputs: readonly I[]) => Promise<readonly O[]>;
  #asked: Asked<I, O>[] = [];
  #running = 0;
  #begun = false;

  /** @param answer gives one output for each input, in their order. */
  constructor(answer: (inputs: readonly I[]) => Promise<readonly O[]>) {
    this.#answer = answer;
  }

  /** @throws what `answer` throws when it is asked this alone: a question that makes its batch fail is not to be the others' failure. */
  ask(input: I): Promise<O> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ input, resolve, reject });
      this.#begin();
    });
  }

  /** At the end of this turn: who got their answers or their slots together asks the next together. */
  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    setImmediate(() => {
      this.#begun = false;
      this.#go();
    });
  }

  #go(): void {
    if (this.#running >= atOnce || this.#asked.length === 0) return;
    const batch = this.#asked.splice(0, most);
    this.#running++;
    void this.#settle(batch).finally(() => {
      this.#running--;
      this.#begin();
    });
    this.#go();
  }

  async #settle(batch: readonly Asked<I, O>[]): Promise<void> {
    try {
      const outputs = await this.#answer(batch.map(({ input }) => input));
      batch.forEach(({ resolve }, i) => {
        resolve(outputs[i] as O);
      });
    } catch (error) {
      // Whoever is away is away for all of them; asked one by one, each would wait for that in turn.
      if (batch.length === 1 || remedyFor(error) === 'not-now') for (const { reject } of batch) reject(error);
      else for (const one of batch) await this.#settle([one]);
    }
  }
}
