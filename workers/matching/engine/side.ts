import { type Amounts, amountsOf } from './amounts.ts';
import { packed } from './pack.ts';
import { RowOrder } from './row-order.ts';
import type { Columns, PackedCodes, PackedColumns, PackedOptionalAmounts, PackedText } from './types.ts';

const DAY_MS = 86_400_000;

/** One side as the engine works on it: what rules compare as numbers, and the order of its rows. */
export interface Side {
  readonly columns: PackedColumns;
  readonly size: number;
  readonly amounts: Amounts;
  /** Whole UTC days since 1970-01-01. */
  readonly day: Int32Array;
  /** The same number for the same currency, on both sides. */
  readonly currency: Int32Array;
  /** What is known in the base currency; made when a rule first asks for it. */
  readonly base: Base;
  readonly order: RowOrder;
  /** A field as text; empty where a record doesn't have it. Read once. */
  readonly text: (name: string) => PackedText;
}

/** A row that misses an amount or a currency has 1 there. */
export interface Base {
  readonly amounts: Amounts;
  readonly amountMissing: Uint8Array;
  readonly currency: Int32Array;
  readonly currencyMissing: Uint8Array;
}

/**
 * Both sides of a run.
 *
 * @param fieldNames fields that the run's rules compare; they tell apart rows that are equal in everything else.
 */
export function sidesOf(
  left: Columns | PackedColumns,
  right: Columns | PackedColumns,
  fieldNames: readonly string[],
): { left: Side; right: Side } {
  const [l, r] = [packed(left), packed(right)];
  const amounts = amountsOf(l.amount, r.amount);
  const currencies = sharedCodes(l.currency, r.currency);
  let known: { left: Base; right: Base } | undefined;
  const base = () => {
    known ??= bases(l, r);
    return known;
  };
  return {
    left: sideOf(l, amounts.left, currencies.left, () => base().left, fieldNames),
    right: sideOf(r, amounts.right, currencies.right, () => base().right, fieldNames),
  };
}

function bases(left: PackedColumns, right: PackedColumns): { left: Base; right: Base } {
  const [leftAmounts, rightAmounts] = [baseAmounts(left), baseAmounts(right)];
  const amounts = amountsOf(leftAmounts, rightAmounts);
  const currencies = sharedCodes(baseCurrency(left), baseCurrency(right));
  const of = (own: Amounts, { missing }: PackedOptionalAmounts, currency: Int32Array) => ({
    amounts: own,
    amountMissing: missing,
    currency,
    currencyMissing: Uint8Array.from(currency, (code) => (code < 0 ? 1 : 0)),
  });
  return {
    left: of(amounts.left, leftAmounts, currencies.left),
    right: of(amounts.right, rightAmounts, currencies.right),
  };
}

function baseAmounts({ size, amountBase }: PackedColumns): PackedOptionalAmounts {
  return amountBase ?? { low: new Float64Array(size), missing: new Uint8Array(size).fill(1) };
}

function baseCurrency({ size, baseCurrency }: PackedColumns): PackedCodes {
  return baseCurrency ?? { codes: new Int32Array(size).fill(-1), names: [] };
}

function sideOf(
  columns: PackedColumns,
  amounts: Amounts,
  currency: Int32Array,
  base: () => Base,
  fieldNames: readonly string[],
): Side {
  const { size, timestamp } = columns;
  const day = new Int32Array(size);
  for (let row = 0; row < size; row++) day[row] = Math.floor((timestamp[row] as number) / DAY_MS);
  const texts = new Map<string, PackedText>();
  const text = (name: string) => {
    let found = texts.get(name);
    if (found === undefined) {
      found = columns.field(name) ?? { bytes: new Uint8Array(0), start: new Uint32Array(size + 1) };
      texts.set(name, found);
    }
    return found;
  };
  return {
    columns,
    size,
    amounts,
    day,
    currency,
    get base() {
      return base();
    },
    order: new RowOrder(columns, fieldNames),
    text,
  };
}

/** Both sides' codes in one numbering; -1 stays. */
export function sharedCodes(left: PackedCodes, right: PackedCodes): { left: Int32Array; right: Int32Array } {
  if (left.names.length <= right.names.length && left.names.every((name, i) => name === right.names[i])) {
    return { left: left.codes, right: right.codes };
  }
  const known = new Map<string, number>();
  const shared = ({ codes, names }: PackedCodes) => {
    const numbers = names.map((name) => {
      const number = known.get(name) ?? known.size;
      known.set(name, number);
      return number;
    });
    const result = new Int32Array(codes.length);
    for (let row = 0; row < codes.length; row++) result[row] = numbers[codes[row] as number] ?? -1;
    return result;
  };
  return { left: shared(left), right: shared(right) };
}
