import { type KeyColumn, mixed, UNLIKE } from './key-column.ts';
import { Trimmed } from './packed-text.ts';
import type { PackedText } from './types.ts';

/** So many texts are looked up at once before they are compared. */
const BLOCK = 64;

/** Texts that are equal when they are trimmed. */
export class TextColumn implements KeyColumn {
  readonly #text: PackedText;
  readonly #view: DataView;
  readonly #foldCase: boolean;
  readonly #mustSet: boolean;
  readonly #own = new Trimmed();
  /** The length of all texts where they have the same: then it is known where each begins. Else -1. */
  readonly #length: number;
  /** Whether a text that was mixed has white space around it. */
  #hasSpace = false;
  /** What `#fetch` read: only what is used is sure to be read. */
  fetched = 0;

  /**
   * @param foldCase whether A–Z and a–z are the same.
   * @param mustSet whether a blank text has no equal.
   */
  constructor(text: PackedText, foldCase: boolean, mustSet: boolean) {
    this.#text = text;
    this.#view = new DataView(text.bytes.buffer, text.bytes.byteOffset, text.bytes.byteLength);
    this.#foldCase = foldCase;
    this.#mustSet = mustSet;
    this.#length = commonLength(text);
  }

  mix(rows: Int32Array, hashes: Int32Array, out: Uint8Array): void {
    const { bytes, start } = this.#text;
    const view = this.#view;
    const own = this.#own;
    // Folds more than case. That finds more than is equal, now and then, and costs a fraction.
    const fold = this.#foldCase ? 0x20202020 : 0;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      let from = start[row] as number;
      let to = start[row + 1] as number;
      if (from < to && !(isPlain(bytes[from] as number) && isPlain(bytes[to - 1] as number))) {
        own.trim(this.#text, row);
        if (own.from !== from || own.to !== to) this.#hasSpace = true;
        ({ from, to } = own);
      }
      if (from === to && this.#mustSet) out[i] = 1;
      let hash = mixed(hashes[i] as number, to - from);
      let at = from;
      for (; at + 4 <= to; at += 4) {
        const word = view.getInt32(at, true);
        hash = mixed(hash, word | fold);
      }
      for (; at < to; at++) {
        const byte = bytes[at] as number;
        hash = mixed(hash, byte | (fold & 0x20));
      }
      hashes[i] = hash;
    }
  }

  verify(rows: Int32Array, candidates: Int32Array, other: TextColumn): void {
    const { start } = this.#text;
    const isTrimmed = !this.#hasSpace && !other.#hasSpace;
    const starts = new Uint32Array(BLOCK);
    const ends = new Uint32Array(BLOCK);
    for (let from = 0; from < rows.length; from += BLOCK) {
      const to = Math.min(from + BLOCK, rows.length);
      other.#fetch(candidates.subarray(from, to), starts, ends);
      for (let i = from; i < to; i++) {
        const candidate = candidates[i] as number;
        if (candidate < 0) continue;
        const row = rows[i] as number;
        const isEqual = isTrimmed
          ? this.#equalBytes(
              start[row] as number,
              start[row + 1] as number,
              other,
              starts[i - from] as number,
              ends[i - from] as number,
            )
          : this.equals(row, other, candidate);
        if (!isEqual) candidates[i] = UNLIKE;
      }
    }
  }

  /**
   * Says where texts begin and end, and reads both ends. Reads that do not wait for each other are under way together, and the
   * comparison finds all in the cache; without, it waits for one text after the other, three times as long.
   */
  #fetch(rows: Int32Array, starts: Uint32Array, ends: Uint32Array): void {
    const { bytes, start } = this.#text;
    const length = this.#length;
    let sum = 0;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      if (row < 0) continue;
      const first = length >= 0 ? row * length : (start[row] as number);
      const end = length >= 0 ? first + length : (start[row + 1] as number);
      starts[i] = first;
      ends[i] = end;
      if (first < end) sum += (bytes[first] as number) + (bytes[end - 1] as number);
    }
    this.fetched += sum;
  }

  equals(row: number, other: TextColumn, otherRow: number): boolean {
    this.#own.trim(this.#text, row);
    other.#own.trim(other.#text, otherRow);
    return this.#equalBytes(this.#own.from, this.#own.to, other, other.#own.from, other.#own.to);
  }

  #equalBytes(from: number, to: number, other: TextColumn, otherFrom: number, otherTo: number): boolean {
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

/** Whether a byte is a character by itself that is no white space. */
function isPlain(byte: number): boolean {
  return byte > 0x20 && byte < 0x80;
}

/** A–Z to a–z in four bytes at once, and nothing else: what other letters fold to depends on the language. */
function lowerCase(word: number): number {
  const sevenBits = word & 0x7f7f7f7f;
  const aboveZ = (sevenBits + 0x25252525) | 0;
  const fromA = (sevenBits + 0x3f3f3f3f) | 0;
  const isUpper = ~word & 0x80808080 & (fromA ^ aboveZ);
  return word | (isUpper >>> 2);
}
