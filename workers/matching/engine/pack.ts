import { packAmounts } from './amounts.ts';
import { packTexts } from './packed-text.ts';
import type { Columns, PackedCodes, PackedColumns } from './types.ts';

/** Columns in typed arrays; what is packed already is taken as it is. */
export function packed(columns: Columns | PackedColumns): PackedColumns {
  if (isPacked(columns)) return columns;
  const { size, externalId, amount, currency, timestamp, source, amountBase, baseCurrency } = columns;
  return {
    size,
    externalId: packTexts(externalId, size),
    amount: packAmounts(amount),
    currency: packCodes(currency, size),
    timestamp: Float64Array.from(timestamp),
    source: source === undefined ? undefined : packCodes(source, size),
    amountBase: amountBase && {
      ...packAmounts(Array.from(amountBase, (amount) => amount ?? 0n)),
      missing: Uint8Array.from(amountBase, (amount) => (amount === null ? 1 : 0)),
    },
    baseCurrency: baseCurrency && packCodes(baseCurrency, size),
    field: (name) => packTexts(columns.field(name), size),
  };
}

function isPacked(columns: Columns | PackedColumns): columns is PackedColumns {
  return 'low' in columns.amount;
}

function packCodes(texts: ArrayLike<string | null>, size: number): PackedCodes {
  const known = new Map<string, number>();
  const codes = new Int32Array(size);
  for (let row = 0; row < size; row++) {
    const text = texts[row];
    if (text === null || text === undefined) {
      codes[row] = -1;
      continue;
    }
    let code = known.get(text);
    if (code === undefined) {
      code = known.size;
      known.set(text, code);
    }
    codes[row] = code;
  }
  return { codes, names: [...known.keys()] };
}
