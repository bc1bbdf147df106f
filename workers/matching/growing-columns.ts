import { MatcherError } from '@matcher/shared/errors.ts';
import { numericAt, WideNumeric } from '@matcher/shared/postgres/copy-binary-numeric.ts';
import { INCOMPLETE, int32At, timestampAt } from '@matcher/shared/postgres/copy-binary-read.ts';
import type { PackedAmounts, PackedCodes, PackedOptionalAmounts, PackedText } from './engine/types.ts';

/**
 * Columns that are filled row by row from COPY's binary format. Each `take` reads one field, its length before it, and returns where the next one begins,
 * or `INCOMPLETE`: the same row is taken again then, and what was kept of it is written over. Memory that was asked for and not yet written to is
 * none: what is too much room costs nothing.
 */

/** Bytes of text for which there is room in each row at first. */
const TEXT_ROOM = 40;
/** Texts up to this length are copied byte by byte. */
const SHORT = 48;
/** Where a text begins is a number of 32 bits. */
const MOST_TEXT = 2 ** 32 - 1;

/** A longer array with the same content. */
export function enlarged<A extends Float64Array | Int32Array | Uint32Array | Uint8Array>(array: A, length: number): A {
  const larger = new (array.constructor as new (length: number) => A)(length);
  larger.set(array as never);
  return larger;
}

export class TextColumn {
  #bytes: Uint8Array;
  #start: Uint32Array;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity * TEXT_ROOM);
    this.#start = new Uint32Array(capacity + 1);
  }

  take(row: number, from: Uint8Array, at: number, end: number): number {
    if (at + 4 > end) return INCOMPLETE;
    const length = int32At(from, at);
    const first = at + 4;
    if (length <= 0) {
      this.#start[row + 1] = this.#start[row] as number;
      return first;
    }
    const next = first + length;
    if (next > end) return INCOMPLETE;
    const to = this.#start[row] as number;
    if (to + length > this.#bytes.length) this.#grow(to + length);
    const bytes = this.#bytes;
    if (length > SHORT) bytes.set(from.subarray(first, next), to);
    else for (let i = 0; i < length; i++) bytes[to + i] = from[first + i] as number;
    this.#start[row + 1] = to + length;
    return next;
  }

  enlarge(capacity: number): void {
    this.#start = enlarged(this.#start, capacity + 1);
  }

  done(size: number): PackedText {
    return { bytes: this.#bytes.subarray(0, this.#start[size]), start: this.#start.subarray(0, size + 1) };
  }

  #grow(length: number): void {
    if (length > MOST_TEXT) {
      throw new MatcherError('RUN_TOO_LARGE', 'The texts of a column come to more than 4 GiB', {
        hint: 'Match the context more often, or load shorter texts.',
      });
    }
    this.#bytes = enlarged(this.#bytes, Math.min(MOST_TEXT, Math.max(length, Math.ceil(this.#bytes.length * 1.5))));
  }
}

/** Amounts; in one word each until one needs two. */
export class AmountColumn {
  #low: Float64Array;
  #high: Float64Array | undefined;
  #missing: Uint8Array;
  #present = false;
  readonly #wide = new WideNumeric();

  constructor(capacity: number) {
    this.#low = new Float64Array(capacity);
    this.#missing = new Uint8Array(capacity);
  }

  take(row: number, from: Uint8Array, at: number, end: number): number {
    if (at + 4 > end) return INCOMPLETE;
    const length = int32At(from, at);
    const first = at + 4;
    if (length < 0) {
      this.#missing[row] = 1;
      return first;
    }
    if (first + length > end) return INCOMPLETE;
    this.#present = true;
    const amount = numericAt(from, first);
    if (this.#high === undefined && !Number.isNaN(amount)) {
      this.#low[row] = amount;
      return first + length;
    }
    this.#high ??= this.#inTwoWords(row);
    this.#wide.read(from, first);
    this.#low[row] = this.#wide.low;
    this.#high[row] = this.#wide.high;
    return first + length;
  }

  enlarge(capacity: number): void {
    this.#low = enlarged(this.#low, capacity);
    this.#high &&= enlarged(this.#high, capacity);
    this.#missing = enlarged(this.#missing, capacity);
  }

  done(size: number): PackedAmounts {
    return { low: this.#low.subarray(0, size), high: this.#high?.subarray(0, size) };
  }

  /** Undefined when no row has an amount. */
  optional(size: number): PackedOptionalAmounts | undefined {
    return this.#present ? { ...this.done(size), missing: this.#missing.subarray(0, size) } : undefined;
  }

  #inTwoWords(rows: number): Float64Array {
    const high = new Float64Array(this.#low.length);
    for (let row = 0; row < rows; row++) {
      this.#wide.split(this.#low[row] as number);
      high[row] = this.#wide.high;
      this.#low[row] = this.#wide.low;
    }
    return high;
  }
}

/** Texts of a few bytes of which there are few different ones, such as currencies. */
export class CodeColumn {
  #codes: Int32Array;
  readonly #known = new Map<string, number>();
  /** Those of three bytes, as one number: what has to be decoded is met once. */
  readonly #threes = new Map<number, number>();

  constructor(capacity: number) {
    this.#codes = new Int32Array(capacity);
  }

  take(row: number, from: Uint8Array, at: number, end: number): number {
    if (at + 4 > end) return INCOMPLETE;
    const length = int32At(from, at);
    const first = at + 4;
    if (length < 0) {
      this.#codes[row] = -1;
      return first;
    }
    const next = first + length;
    if (next > end) return INCOMPLETE;
    this.#codes[row] = length === 3 ? this.#ofThree(from, first) : this.#codeOf(from.subarray(first, next));
    return next;
  }

  enlarge(capacity: number): void {
    this.#codes = enlarged(this.#codes, capacity);
  }

  done(size: number): PackedCodes {
    return { codes: this.#codes.subarray(0, size), names: [...this.#known.keys()] };
  }

  /** Undefined when no row has one. */
  optional(size: number): PackedCodes | undefined {
    return this.#known.size > 0 ? this.done(size) : undefined;
  }

  #ofThree(from: Uint8Array, at: number): number {
    const three = ((from[at] as number) << 16) | ((from[at + 1] as number) << 8) | (from[at + 2] as number);
    let code = this.#threes.get(three);
    if (code === undefined) {
      code = this.#codeOf(from.subarray(at, at + 3));
      this.#threes.set(three, code);
    }
    return code;
  }

  #codeOf(bytes: Uint8Array): number {
    const text = decoder.decode(bytes);
    const code = this.#known.get(text) ?? this.#known.size;
    this.#known.set(text, code);
    return code;
  }
}

const decoder = new TextDecoder();

/** Times in milliseconds; every row has one. */
export class TimeColumn {
  #times: Float64Array;

  constructor(capacity: number) {
    this.#times = new Float64Array(capacity);
  }

  take(row: number, from: Uint8Array, at: number, end: number): number {
    if (at + 12 > end) return INCOMPLETE;
    this.#times[row] = timestampAt(from, at + 4);
    return at + 12;
  }

  enlarge(capacity: number): void {
    this.#times = enlarged(this.#times, capacity);
  }

  done(size: number): Float64Array {
    return this.#times.subarray(0, size);
  }
}
