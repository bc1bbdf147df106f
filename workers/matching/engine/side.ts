import type { Columns } from './types.ts';

const DAY_MS = 86_400_000;

/** One side as the engine works on it: what rules compare as numbers, and the order of its rows. */
export interface Side {
  readonly columns: Columns;
  readonly size: number;
  readonly amount: ArrayLike<bigint>;
  /** Whole UTC days since 1970-01-01. */
  readonly day: Int32Array;
  /** The same number for the same currency, on both sides. */
  readonly currency: Int32Array;
  /**
   * Each row's amount as its place among all different amounts of both sides, ascending: what a search compares instead of
   * the amounts themselves. Computed on first use, like the order.
   */
  readonly amountPlace: () => Int32Array;
  /** The order in which equally near rows come. Computed on first use: most runs with references never need it. */
  readonly order: () => RowOrder;
}

/** Places in the order of a side's rows. */
export interface RowOrder {
  /** By `externalId` alone (UTF-16 code units); equal ones share a place. */
  readonly byId: Int32Array;
  /** By `externalId`, then source, then content; every row has its own place. */
  readonly byRow: Int32Array;
}

/**
 * Both sides of a run.
 *
 * @param fieldNames fields that the run's rules compare; they tell apart rows that are equal in everything else.
 */
export function sidesOf(left: Columns, right: Columns, fieldNames: readonly string[]): { left: Side; right: Side } {
  const codes = new Map<string, number>();
  const places = once(() => amountPlaces(left.amount, right.amount));
  return {
    left: sideOf(left, codes, fieldNames, () => places().left),
    right: sideOf(right, codes, fieldNames, () => places().right),
  };
}

function once<T>(compute: () => T): () => T {
  let result: { value: T } | undefined;
  return () => {
    result ??= { value: compute() };
    return result.value;
  };
}

function sideOf(
  columns: Columns,
  codes: Map<string, number>,
  fieldNames: readonly string[],
  amountPlace: () => Int32Array,
): Side {
  const { size, amount, timestamp } = columns;
  const day = new Int32Array(size);
  const currency = new Int32Array(size);
  for (let row = 0; row < size; row++) {
    day[row] = Math.floor((timestamp[row] as number) / DAY_MS);
    const name = columns.currency[row] as string;
    let code = codes.get(name);
    if (code === undefined) {
      code = codes.size;
      codes.set(name, code);
    }
    currency[row] = code;
  }
  const order = once(() => orderOf(columns, fieldNames));
  return { columns, size, amount, day, currency, amountPlace, order };
}

function amountPlaces(left: ArrayLike<bigint>, right: ArrayLike<bigint>): { left: Int32Array; right: Int32Array } {
  const all = [...Array.from(left), ...Array.from(right)];
  // Doubles sort and compare many times faster than bigints; they stand in where every amount is exactly a double.
  const asDoubles = all.every((amount) => BigInt(Number(amount)) === amount);
  const ascending: ArrayLike<number | bigint> = asDoubles ? Float64Array.from(all, Number).sort() : all.sort(compare);
  const placeOf = (amount: bigint): number => {
    const wanted = asDoubles ? Number(amount) : amount;
    let low = 0;
    let high = ascending.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ascending[middle] as number) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return { left: Int32Array.from(left, placeOf), right: Int32Array.from(right, placeOf) };
}

function orderOf(columns: Columns, fieldNames: readonly string[]): RowOrder {
  const { size, externalId, source } = columns;
  const contents: ArrayLike<string | bigint | number | null>[] = [columns.amount, columns.timestamp, columns.currency];
  const fields = () => fieldNames.map((name) => columns.field(name));
  let fieldsRead: ReturnType<typeof fields> | undefined;
  const compareRest = (a: number, b: number): number => {
    fieldsRead ??= fields();
    for (const column of source === undefined ? contents : [source, ...contents]) {
      const by = compare(column[a], column[b]);
      if (by !== 0) return by;
    }
    for (const column of fieldsRead) {
      const by = compare(column[a] ?? '', column[b] ?? '');
      if (by !== 0) return by;
    }
    return a - b; // nothing that any rule can see tells them apart
  };
  const rows = Int32Array.from({ length: size }, (_, row) => row);
  rows.sort((a, b) => compare(externalId[a], externalId[b]) || compareRest(a, b));
  const byId = new Int32Array(size);
  const byRow = new Int32Array(size);
  for (let place = 0; place < size; place++) {
    const row = rows[place] as number;
    const before = rows[place - 1];
    byRow[row] = place;
    byId[row] = before !== undefined && externalId[before] === externalId[row] ? (byId[before] as number) : place;
  }
  return { byId, byRow };
}

type Comparable = string | bigint | number | null | undefined;

/** By UTF-16 code units for text, by value for numbers. */
function compare(a: Comparable, b: Comparable): number {
  if (a === b) return 0;
  return (a as string) < (b as string) ? -1 : 1;
}
