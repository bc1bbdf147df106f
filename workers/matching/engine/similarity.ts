import { textAt } from './packed-text.ts';
import type { PackedText } from './types.ts';

/** Fully similar; similarities are in ten-thousandths, rounded down. */
export const SAME = 10_000;

/**
 * How similar two texts are, from 0 to 10,000: Dice's coefficient of their trigrams, 2 × common / (trigrams of one + of the other).
 *
 * Texts are normalised first: compatibility decomposition, accents and case taken off, everything that is neither letter nor digit
 * one space. Trigrams are counted as often as they occur, with two spaces before the text and one behind it, so that beginnings of
 * words weigh more. Chosen because it is symmetric, forgives what hands do to texts (typing errors, other punctuation, swapped
 * words), and is a fraction of whole numbers: no floating point, the same on every machine. Only equal normalised texts reach 10,000,
 * and a text without letters and digits is similar to nothing.
 */
export class Similarity {
  readonly #left: Trigrams;
  readonly #right: Trigrams;

  constructor(left: PackedText, right: PackedText) {
    this.#left = new Trigrams(left);
    this.#right = new Trigrams(right);
  }

  of(leftRow: number, rightRow: number): number {
    const left = this.#left.of(leftRow);
    const right = this.#right.of(rightRow);
    if (left.text === '' || right.text === '') return 0;
    if (left.text === right.text) return SAME;
    const common = commonOf(left.trigrams, right.trigrams);
    return Math.min(SAME - 1, Math.floor((2 * common * SAME) / (left.trigrams.length + right.trigrams.length)));
  }
}

/** As `Similarity` compares texts. */
export function normalised(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/\p{M}+/gu, '')
    .toLowerCase()
    .normalize('NFKD')
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();
}

interface Normalised {
  readonly text: string;
  /** Ascending; three UTF-16 code units make one number. */
  readonly trigrams: Float64Array;
}

/** The texts of one side, each normalised when it is first compared. */
class Trigrams {
  readonly #texts: PackedText;
  readonly #known = new Map<number, Normalised>();

  constructor(texts: PackedText) {
    this.#texts = texts;
  }

  of(row: number): Normalised {
    const known = this.#known.get(row);
    if (known) return known;
    const text = normalised(textAt(this.#texts, row));
    const padded = `  ${text} `;
    const trigrams = new Float64Array(padded.length - 2);
    for (let i = 0; i < trigrams.length; i++) {
      trigrams[i] = (padded.charCodeAt(i) * 65_536 + padded.charCodeAt(i + 1)) * 65_536 + padded.charCodeAt(i + 2);
    }
    const result = { text, trigrams: trigrams.sort() };
    this.#known.set(row, result);
    return result;
  }
}

function commonOf(a: Float64Array, b: Float64Array): number {
  let common = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const by = (a[i] as number) - (b[j] as number);
    if (by === 0) common++;
    if (by <= 0) i++;
    if (by >= 0) j++;
  }
  return common;
}
