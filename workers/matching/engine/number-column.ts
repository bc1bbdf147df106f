import { type KeyColumn, mixed, UNLIKE } from './key-column.ts';

export type Numbers = Int32Array | Float64Array;

/** Whole numbers that stand for the same on both sides. */
export class NumberColumn implements KeyColumn {
  readonly #values: Float64Array;

  constructor(values: Numbers) {
    // Loops over one kind of array are several times as fast as those over two.
    this.#values = values instanceof Float64Array ? values : new Float64Array(values);
  }

  /** The numbers of both sides, the smallest, and how many there can be. */
  static offsets(
    left: NumberColumn,
    right: NumberColumn,
  ): { left: Float64Array; right: Float64Array; least: number; size: number } {
    return { left: left.#values, right: right.#values, ...rangeOf(left.#values, right.#values) };
  }

  /** One number for two, the same for the same two; undefined when they don't fit into 2^52. */
  static joined(
    a: { left: NumberColumn; right: NumberColumn },
    b: { left: NumberColumn; right: NumberColumn },
  ): { left: NumberColumn; right: NumberColumn } | undefined {
    const [rangeA, rangeB] = [rangeOf(a.left.#values, a.right.#values), rangeOf(b.left.#values, b.right.#values)];
    if (!(rangeA.size * rangeB.size < 2 ** 52)) return undefined;
    const join = (first: Float64Array, second: Float64Array) => {
      const result = new Float64Array(first.length);
      for (let row = 0; row < first.length; row++) {
        result[row] = ((first[row] as number) - rangeA.least) * rangeB.size + ((second[row] as number) - rangeB.least);
      }
      return new NumberColumn(result);
    };
    return { left: join(a.left.#values, b.left.#values), right: join(a.right.#values, b.right.#values) };
  }

  mix(rows: Int32Array, hashes: Int32Array): void {
    const values = this.#values;
    for (let i = 0; i < rows.length; i++) {
      const value = values[rows[i] as number] as number;
      const over = Math.floor(value / 2 ** 32);
      hashes[i] = mixed(mixed(hashes[i] as number, (value - over * 2 ** 32) | 0), over | 0);
    }
  }

  equals(row: number, other: NumberColumn, otherRow: number): boolean {
    return this.#values[row] === other.#values[otherRow];
  }

  verify(rows: Int32Array, candidates: Int32Array, other: NumberColumn): void {
    const values = this.#values;
    const others = other.#values;
    for (let i = 0; i < rows.length; i++) {
      const candidate = candidates[i] as number;
      if (candidate >= 0 && values[rows[i] as number] !== others[candidate]) candidates[i] = UNLIKE;
    }
  }
}

function rangeOf(...columns: Float64Array[]): { least: number; size: number } {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const values of columns) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i] as number;
      if (value < least) least = value;
      if (value > most) most = value;
    }
  }
  return { least, size: most - least + 1 };
}
