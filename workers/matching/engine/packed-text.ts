import type { PackedText } from './types.ts';

/** Packs texts; null becomes an empty one. */
export function packTexts(texts: ArrayLike<string | null>, size: number): PackedText {
  const start = new Uint32Array(size + 1);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (let from = 0; from < size; from += CHUNK) {
    const chunk = Array.from({ length: Math.min(CHUNK, size - from) }, (_, i) => texts[from + i] ?? '');
    const bytes = encoder.encode(chunk.join(''));
    const isAscii = bytes.length === chunk.reduce((sum, text) => sum + text.length, 0);
    chunk.forEach((text, i) => {
      length += isAscii ? text.length : encoder.encode(text).length;
      start[from + i + 1] = length;
    });
    chunks.push(bytes);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return { bytes, start };
}

const CHUNK = 16_384;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function textAt({ bytes, start }: PackedText, row: number): string {
  return decoder.decode(bytes.subarray(start[row], start[row + 1]));
}

/**
 * By UTF-16 code units, as JavaScript orders strings. That differs from the order of the bytes in one thing: what lies outside of
 * the basic plane (first byte F0 and up) comes before U+E000 to U+FFFF (EE and EF).
 */
export function compareTexts(a: PackedText, rowA: number, b: PackedText, rowB: number): number {
  const fromA = a.start[rowA] as number;
  const fromB = b.start[rowB] as number;
  const lengthA = (a.start[rowA + 1] as number) - fromA;
  const lengthB = (b.start[rowB + 1] as number) - fromB;
  const length = Math.min(lengthA, lengthB);
  for (let i = 0; i < length; i++) {
    const byteA = a.bytes[fromA + i] as number;
    const byteB = b.bytes[fromB + i] as number;
    if (byteA !== byteB) return rankOf(byteA) - rankOf(byteB);
  }
  return lengthA - lengthB;
}

/** Where the first byte that differs stands in the order of UTF-16. */
export function rankOf(byte: number): number {
  if (byte < 0xee) return byte;
  return byte >= 0xf0 ? byte - 2 : byte + 5;
}

/** Where a text begins and ends when it is trimmed of what JavaScript's `trim` takes off. */
export class Trimmed {
  from = 0;
  to = 0;

  trim({ bytes, start }: PackedText, row: number): void {
    let from = start[row] as number;
    let to = start[row + 1] as number;
    for (let space = 1; from < to && space > 0; from += space) space = spaceFrom(bytes, from, to);
    for (let space = 1; from < to && space > 0; to -= space) space = spaceUpTo(bytes, from, to);
    this.from = from;
    this.to = to;
  }
}

/** Bytes of the white space that starts here; 0 when none does. */
function spaceFrom(bytes: Uint8Array, at: number, to: number): number {
  const first = bytes[at] as number;
  if (first > 0x20 && first < 0xc2) return 0;
  if (first <= 0x20) return isAsciiSpace(first) ? 1 : 0;
  if (first === 0xc2) return at + 1 < to && bytes[at + 1] === 0xa0 ? 2 : 0;
  if (at + 2 >= to) return 0;
  return isWideSpace(first, bytes[at + 1] as number, bytes[at + 2] as number) ? 3 : 0;
}

/** Bytes of the white space that ends here; 0 when none does. */
function spaceUpTo(bytes: Uint8Array, from: number, to: number): number {
  const last = bytes[to - 1] as number;
  if (last > 0x20 && last < 0x80) return 0;
  if (last <= 0x20) return isAsciiSpace(last) ? 1 : 0;
  if (last === 0xa0 && to - 2 >= from && bytes[to - 2] === 0xc2) return 2;
  if (to - 3 < from) return 0;
  return isWideSpace(bytes[to - 3] as number, bytes[to - 2] as number, last) ? 3 : 0;
}

function isAsciiSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

/** U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000 and U+FEFF. */
function isWideSpace(first: number, second: number, third: number): boolean {
  switch (first) {
    case 0xe1:
      return second === 0x9a && third === 0x80;
    case 0xe2:
      if (second === 0x81) return third === 0x9f;
      return second === 0x80 && (third <= 0x8a || third === 0xa8 || third === 0xa9 || third === 0xaf);
    case 0xe3:
      return second === 0x80 && third === 0x80;
    case 0xef:
      return second === 0xbb && third === 0xbf;
    default:
      return false;
  }
}
