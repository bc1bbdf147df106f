import { type Key, NO_KEY } from './keys.ts';

/** Rows of both sides that share all keys. The rows of partition `p` are `rows[start[p]]` up to `rows[start[p + 1]]`. */
export interface Partitions {
  readonly count: number;
  readonly left: { readonly rows: Int32Array; readonly start: Int32Array };
  readonly right: { readonly rows: Int32Array; readonly start: Int32Array };
}

/**
 * Sorts rows into partitions of equal keys, in time linear in rows × keys. Rows without a key, and right rows whose keys no
 * left row has, are in none.
 *
 * @param check called between keys; may throw to end the run.
 */
export function partition(
  leftRows: Int32Array,
  rightRows: Int32Array,
  keys: readonly Key[],
  check: () => void,
): Partitions {
  const leftCode = new Int32Array(leftRows.length);
  const rightCode = new Int32Array(rightRows.length);
  let count = 1;
  for (const key of keys) {
    check();
    const { left, right } = key(leftRows, rightRows);
    const numbers = new PairNumbers(leftRows.length);
    for (let i = 0; i < left.length; i++) {
      const out = leftCode[i] === NO_KEY || left[i] === NO_KEY;
      leftCode[i] = out ? NO_KEY : numbers.numberOf(leftCode[i] as number, left[i] as number);
    }
    for (let i = 0; i < right.length; i++) {
      const out = rightCode[i] === NO_KEY || right[i] === NO_KEY;
      rightCode[i] = out ? NO_KEY : numbers.known(rightCode[i] as number, right[i] as number);
    }
    count = numbers.count;
  }
  return { count, left: bucketed(leftRows, leftCode, count), right: bucketed(rightRows, rightCode, count) };
}

/** Numbers pairs of whole numbers as they come: an open-addressing hash table in typed arrays, at most half full. */
class PairNumbers {
  count = 0;
  readonly #mask: number;
  /** Slot → number of the pair + 1; 0 is free. */
  readonly #slots: Int32Array;
  readonly #first: Int32Array;
  readonly #second: Int32Array;

  constructor(most: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2 * most, 2)));
    this.#mask = slots - 1;
    this.#slots = new Int32Array(slots);
    this.#first = new Int32Array(most);
    this.#second = new Int32Array(most);
  }

  /** The number of a pair, a new one when it has none. */
  numberOf(first: number, second: number): number {
    const slot = this.#slotOf(first, second);
    const found = this.#slots[slot] as number;
    if (found !== 0) return found - 1;
    this.#first[this.count] = first;
    this.#second[this.count] = second;
    this.#slots[slot] = ++this.count;
    return this.count - 1;
  }

  /** The number of a pair, `NO_KEY` when it has none. */
  known(first: number, second: number): number {
    return (this.#slots[this.#slotOf(first, second)] as number) - 1;
  }

  #slotOf(first: number, second: number): number {
    let hash = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    let slot = (hash ^ (hash >>> 13)) & this.#mask;
    for (let at = this.#slots[slot] as number; at !== 0; at = this.#slots[slot] as number) {
      if (this.#first[at - 1] === first && this.#second[at - 1] === second) break;
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }
}

function bucketed(rows: Int32Array, code: Int32Array, count: number): { rows: Int32Array; start: Int32Array } {
  const start = new Int32Array(count + 1);
  for (const c of code) if (c !== NO_KEY) start[c + 1] = (start[c + 1] as number) + 1;
  for (let c = 0; c < count; c++) start[c + 1] = (start[c + 1] as number) + (start[c] as number);
  const next = start.slice(0, count);
  const sorted = new Int32Array(start[count] as number);
  for (let i = 0; i < rows.length; i++) {
    const c = code[i] as number;
    if (c === NO_KEY) continue;
    const at = next[c] as number;
    sorted[at] = rows[i] as number;
    next[c] = at + 1;
  }
  return { rows: sorted, start };
}
