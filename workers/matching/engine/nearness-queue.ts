import { IndexedHeap } from './heap.ts';
import { radixSort, wordsOf } from './radix.ts';

/** How near the candidates are: arrays that run along them. The smallest is the nearest; earlier arrays go before later ones. */
export type Nearness = readonly (Float64Array | Int32Array)[];

/**
 * The numbers 0 to size − 1 by how near each is, the nearest first, where most never change: what is there at the beginning is sorted
 * once, and only what is put right later goes through a heap.
 */
export class NearnessQueue {
  readonly #sorted: Int32Array;
  readonly #heap: IndexedHeap;
  readonly #isBefore: (a: number, b: number) => boolean;
  /** Whether an item is in the sorted part, and neither changed nor removed since. */
  readonly #stands: Uint8Array;
  #next = 0;

  /**
   * @param items what is inside at the beginning.
   * @param nearness of the items at the beginning, by item.
   * @param isBefore the same order, of what the items are now.
   */
  constructor(size: number, items: Int32Array, nearness: Nearness, isBefore: (a: number, b: number) => boolean) {
    const words = nearness.toReversed().flatMap((values) => {
      const own = new Float64Array(items.length);
      for (let i = 0; i < items.length; i++) own[i] = values[items[i] as number] as number;
      return wordsOf(own);
    });
    this.#sorted = radixSort(words, items.length).map((place) => items[place] as number);
    this.#heap = new IndexedHeap(size, isBefore);
    this.#isBefore = isBefore;
    this.#stands = new Uint8Array(size);
    for (let i = 0; i < items.length; i++) this.#stands[items[i] as number] = 1;
  }

  /** The nearest item, which stays inside; -1 when there is none. */
  get first(): number {
    const sorted = this.#sorted;
    while (this.#next < sorted.length && this.#stands[sorted[this.#next] as number] === 0) this.#next++;
    const changed = this.#heap.first;
    if (this.#next === sorted.length) return changed;
    const standing = sorted[this.#next] as number;
    return changed === -1 || this.#isBefore(standing, changed) ? standing : changed;
  }

  /** Puts an item in, or puts it right after its nearness has changed. */
  update(item: number): void {
    this.#stands[item] = 0;
    this.#heap.update(item);
  }

  remove(item: number): void {
    this.#stands[item] = 0;
    this.#heap.remove(item);
  }
}
