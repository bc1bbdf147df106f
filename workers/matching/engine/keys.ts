import type { Amounts } from './amounts.ts';
import { Trimmed } from './packed-text.ts';
import type { Side } from './side.ts';
import type { PackedText } from './types.ts';

/** In no partition. */
export const NONE = -1;

/** Found by its hash, and not equal. */
export const UNLIKE = -2;

/** What must be equal on both sides. */
export interface Key {
  readonly left: KeyColumn;
  readonly right: KeyColumn;
}

/** One side of a key. Both sides of one key are of the same class. */
export interface KeyColumn {
  /**
   * Mixes the rows' values into their hashes; equal values mix alike.
   *
   * @param out set to 1 for a row that can have no partner.
   */
  mix(rows: Int32Array, hashes: Int32Array, out: Uint8Array): void;
  equals(row: number, other: KeyColumn, otherRow: number): boolean;
  /** Sets `candidates[i]` to `UNLIKE` where `rows[i]` does not equal that row of the other side. Below 0 there is none. */
  verify(rows: Int32Array, candidates: Int32Array, other: KeyColumn): void;
}

/** Numbers that stand for the same on both sides. */
export function numberKey(left: Numbers, right: Numbers): Key {
  return { left: new NumberColumn(left), right: new NumberColumn(right) };
}

/** Amounts, to the last decimal. */
export function amountKeys(left: Amounts, right: Amounts): Key[] {
  const low = numberKey(left.low, right.low);
  return left.wide ? [low, numberKey(left.high, right.high)] : [low];
}

/** A field that must be equal, trimmed. A record that doesn't have it matches nothing: absence is no evidence. */
export function fieldKey(left: Side, right: Side, name: string): Key {
  return {
    left: new TextColumn(left.text(name), false, true),
    right: new TextColumn(right.text(name), false, true),
  };
}

/** The reference, trimmed; blank and missing are one, and match each other unless the reference must be set. */
export function referenceKey(
  left: Side,
  right: Side,
  config: { referenceField: string; caseInsensitive: boolean; referenceMustSet: boolean },
): Key {
  const of = (side: Side) =>
    new TextColumn(side.text(config.referenceField), config.caseInsensitive, config.referenceMustSet);
  return { left: of(left), right: of(right) };
}

type Numbers = Int32Array | Float64Array;

/**
 * The keys with several of numbers made one where they fit into one exact number: each number is looked at in an order that
 * memory is slow with, so fewer columns are worth a copy.
 */
export function withNumbersJoined(keys: readonly Key[]): Key[] {
  const joined: Key[] = [];
  let own: { left: NumberColumn; right: NumberColumn } | undefined;
  for (const { left, right } of keys) {
    if (!(left instanceof NumberColumn && right instanceof NumberColumn)) {
      joined.push({ left, right });
      continue;
    }
    const both = own && NumberColumn.joined(own, { left, right });
    if (own && !both) joined.push(own);
    own = both ?? { left, right };
  }
  return own ? [...joined, own] : joined;
}

/** What the values of one key of few different numbers are, so that they need no hashing; undefined for any other key. */
export function fewNumbers(
  keys: readonly Key[],
): { left: Numbers; right: Numbers; least: number; size: number } | undefined {
  const [key] = keys;
  if (keys.length !== 1 || !(key?.left instanceof NumberColumn && key.right instanceof NumberColumn)) return undefined;
  const offsets = NumberColumn.offsets(key.left, key.right);
  return offsets.size > 0 && offsets.size <= FEW_NUMBERS ? offsets : undefined;
}

const FEW_NUMBERS = 4096;

class NumberColumn implements KeyColumn {
  readonly #values: Numbers;

  constructor(values: Numbers) {
    this.#values = values;
  }

  /** The numbers' distances from the smallest, and how many there can be. */
  static offsets(
    left: NumberColumn,
    right: NumberColumn,
  ): { left: Numbers; right: Numbers; least: number; size: number } {
    return { left: left.#values, right: right.#values, ...rangeOf(left.#values, right.#values) };
  }

  /** One number for two, the same for the same two; undefined when they don't fit into 2^52. */
  static joined(
    a: { left: NumberColumn; right: NumberColumn },
    b: { left: NumberColumn; right: NumberColumn },
  ): { left: NumberColumn; right: NumberColumn } | undefined {
    const [rangeA, rangeB] = [rangeOf(a.left.#values, a.right.#values), rangeOf(b.left.#values, b.right.#values)];
    if (!(rangeA.size * rangeB.size < 2 ** 52)) return undefined;
    const join = (first: Numbers, second: Numbers) => {
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

function rangeOf(...columns: Numbers[]): { least: number; size: number } {
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

class TextColumn implements KeyColumn {
  readonly #text: PackedText;
  readonly #view: DataView;
  readonly #foldCase: boolean;
  readonly #mustSet: boolean;
  readonly #own = new Trimmed();
  /** The length of all texts where they have the same: then it is known where each begins. Else -1. */
  readonly length: number;
  /** Whether a text that was mixed has white space around it. */
  #hasSpace = false;

  constructor(text: PackedText, foldCase: boolean, mustSet: boolean) {
    this.#text = text;
    this.#view = new DataView(text.bytes.buffer, text.bytes.byteOffset, text.bytes.byteLength);
    this.#foldCase = foldCase;
    this.#mustSet = mustSet;
    this.length = commonLength(text);
  }

  mix(rows: Int32Array, hashes: Int32Array, out: Uint8Array): void {
    const text = this.#text;
    const view = this.#view;
    const own = this.#own;
    const foldCase = this.#foldCase;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      own.trim(text, row);
      if (own.to - own.from !== (text.start[row + 1] as number) - (text.start[row] as number)) this.#hasSpace = true;
      if (own.from === own.to && this.#mustSet) out[i] = 1;
      let hash = mixed(hashes[i] as number, own.to - own.from);
      let at = own.from;
      for (; at + 4 <= own.to; at += 4) {
        const word = view.getInt32(at, true);
        hash = mixed(hash, foldCase ? lowerCase(word) : word);
      }
      for (; at < own.to; at++) {
        const byte = text.bytes[at] as number;
        hash = mixed(hash, foldCase ? lowerCase(byte) : byte);
      }
      hashes[i] = hash;
    }
  }

  verify(rows: Int32Array, candidates: Int32Array, other: TextColumn): void {
    for (let i = 0; i < rows.length; i++) {
      const candidate = candidates[i] as number;
      if (candidate >= 0 && !this.equals(rows[i] as number, other, candidate)) candidates[i] = UNLIKE;
    }
  }

  equals(row: number, other: TextColumn, otherRow: number): boolean {
    let from = this.#text.start[row] as number;
    let to = this.#text.start[row + 1] as number;
    const { length } = other;
    let otherFrom = length >= 0 ? otherRow * length : (other.#text.start[otherRow] as number);
    let otherTo = length >= 0 ? otherFrom + length : (other.#text.start[otherRow + 1] as number);
    if (this.#hasSpace) {
      this.#own.trim(this.#text, row);
      ({ from, to } = this.#own);
    }
    if (other.#hasSpace) {
      other.#own.trim(other.#text, otherRow);
      ({ from: otherFrom, to: otherTo } = other.#own);
    }
    if (otherTo - otherFrom !== to - from) return false;
    const shift = otherFrom - from;
    const foldCase = this.#foldCase;
    let at = from;
    for (; at + 4 <= to; at += 4) {
      const a = this.#view.getInt32(at, true);
      const b = other.#view.getInt32(at + shift, true);
      if (a !== b && !(foldCase && lowerCase(a) === lowerCase(b))) return false;
    }
    for (; at < to; at++) {
      const a = this.#text.bytes[at] as number;
      const b = other.#text.bytes[at + shift] as number;
      if (a !== b && !(foldCase && lowerCase(a) === lowerCase(b))) return false;
    }
    return true;
  }
}

function commonLength({ start }: PackedText): number {
  const length = start.length > 1 ? (start[1] as number) : 0;
  for (let row = 1; row < start.length; row++) if (start[row] !== row * length) return -1;
  return length;
}

function mixed(hash: number, value: number): number {
  const h = Math.imul(hash ^ value, 0x9e3779b1);
  return h ^ (h >>> 15);
}

/** A–Z to a–z in four bytes at once, and nothing else: what other letters fold to depends on the language. */
function lowerCase(word: number): number {
  const sevenBits = word & 0x7f7f7f7f;
  const aboveZ = (sevenBits + 0x25252525) | 0;
  const fromA = (sevenBits + 0x3f3f3f3f) | 0;
  const isUpper = ~word & 0x80808080 & (fromA ^ aboveZ);
  return word | (isUpper >>> 2);
}
