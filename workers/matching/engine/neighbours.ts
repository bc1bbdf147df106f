import type { Key } from './keys.ts';
import { partition } from './partitions.ts';
import { radixSort, wordsOf } from './radix.ts';
import type { Side } from './side.ts';

/** On either side of a row's own place. */
const MOST_EACH_WAY = 8;

/** All rows of both sides by partition, amount and day: of each row the nearest ones of the other side in its partition. */
export class Neighbours {
  readonly #partitions: { readonly left: Int32Array; readonly right: Int32Array };
  readonly #sides: { readonly left: Side; readonly right: Side };
  readonly #sorted: { readonly left: Int32Array; readonly right: Int32Array };
  readonly #places: { readonly left: Int32Array; readonly right: Int32Array };

  /** @param sides whose orders have ranked all rows. */
  constructor(sides: { left: Side; right: Side }, keys: readonly Key[], check: () => void) {
    const rows = (side: Side) => {
      const all = new Int32Array(side.size);
      for (let row = 0; row < side.size; row++) all[row] = row;
      return all;
    };
    const found = partition(rows(sides.left), rows(sides.right), keys, check);
    this.#sides = sides;
    this.#partitions = { left: found.left.partition, right: found.right.partition };
    this.#sorted = { left: this.#sort('left'), right: this.#sort('right') };
    this.#places = { left: this.#placesOf('left', 'right'), right: this.#placesOf('right', 'left') };
  }

  /** At most 16 rows of the other side. */
  of(name: 'left' | 'right', row: number): number[] {
    const other = name === 'left' ? 'right' : 'left';
    const own = this.#partitions[name][row] as number;
    if (own < 0) return [];
    const sorted = this.#sorted[other];
    const partitions = this.#partitions[other];
    const middle = this.#places[name][row] as number;
    const near: number[] = [];
    for (let i = middle; i < Math.min(sorted.length, middle + MOST_EACH_WAY); i++) {
      if (partitions[sorted[i] as number] !== own) break;
      near.push(sorted[i] as number);
    }
    for (let i = middle - 1; i >= Math.max(0, middle - MOST_EACH_WAY); i--) {
      if (partitions[sorted[i] as number] !== own) break;
      near.push(sorted[i] as number);
    }
    return near;
  }

  #sort(name: 'left' | 'right'): Int32Array {
    const { amounts, day, order, size } = this.#sides[name];
    const words = [order.byRow, day, amounts.low, ...(amounts.wide ? [amounts.high.subarray(0, size)] : [])];
    const all = [...words, this.#partitions[name]].flatMap((values) => wordsOf(Float64Array.from(values)));
    return radixSort(all, size);
  }

  /** By row, the first place of the other side that does not come before the row's own partition, amount and day: both sides are walked in their order. */
  #placesOf(name: 'left' | 'right', other: 'left' | 'right'): Int32Array {
    const [own, others] = [this.#sides[name], this.#sides[other]];
    const [ownPartitions, partitions] = [this.#partitions[name], this.#partitions[other]];
    const sorted = this.#sorted[other];
    const places = new Int32Array(own.size);
    let place = 0;
    for (const row of this.#sorted[name]) {
      for (; place < sorted.length; place++) {
        const at = sorted[place] as number;
        const by =
          (partitions[at] as number) - (ownPartitions[row] as number) ||
          (others.amounts.high[at] as number) - (own.amounts.high[row] as number) ||
          (others.amounts.low[at] as number) - (own.amounts.low[row] as number) ||
          (others.day[at] as number) - (own.day[row] as number);
        if (!(by < 0)) break;
      }
      places[row] = place;
    }
    return places;
  }
}
