import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { exact } from './engine/amounts.ts';
import type { PackedAmounts, PackedCodes, PackedText } from './engine/types.ts';
import { enlarged } from './growing-columns.ts';

/** What rules may name as a field and what is read as something else: as text, made when a rule asks for it. */

const DAY_MS = 86_400_000;
const encoder = new TextEncoder();

/** An amount in units of 10^-8. */
export function exactAmount({ low, high }: PackedAmounts, row: number): bigint {
  return exact(1, high !== undefined, high?.[row] ?? 0, low[row] as number);
}

export function amountTexts(amounts: PackedAmounts, size: number): PackedText {
  return packed(size, (row) => encoder.encode(formatAmount(exactAmount(amounts, row))));
}

export function codeTexts({ codes, names }: PackedCodes, size: number): PackedText {
  const texts = names.map((name) => encoder.encode(name));
  const none = new Uint8Array(0);
  return packed(size, (row) => texts[codes[row] as number] ?? none);
}

/** UTC days as ISO 8601 writes them. */
export function dayTexts(timestamp: Float64Array): PackedText {
  const known = new Map<number, Uint8Array>();
  return packed(timestamp.length, (row) => {
    const day = Math.floor((timestamp[row] as number) / DAY_MS);
    let text = known.get(day);
    if (text === undefined) {
      text = encoder.encode(new Date(day * DAY_MS).toISOString().slice(0, 10));
      known.set(day, text);
    }
    return text;
  });
}

function packed(size: number, textOf: (row: number) => Uint8Array): PackedText {
  const start = new Uint32Array(size + 1);
  let bytes = new Uint8Array(size * 10);
  let length = 0;
  for (let row = 0; row < size; row++) {
    const text = textOf(row);
    if (length + text.length > bytes.length) bytes = enlarged(bytes, 2 * (length + text.length));
    for (let i = 0; i < text.length; i++) bytes[length + i] = text[i] as number;
    length += text.length;
    start[row + 1] = length;
  }
  return { bytes: bytes.subarray(0, length), start };
}
