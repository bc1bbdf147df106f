import { radixSort, wordsOf } from './radix.ts';
import type { Side } from './side.ts';

/**
 * Rows of one side in lanes: by partition, day, currency and amount. Partition and day are one number, the place on a line on which
 * the partitions lie end to end.
 */
export interface SortedRows {
  readonly size: number;
  readonly rows: Int32Array;
  /** Per place: partition × span + day. */
  readonly line: Float64Array;
  /** 0 throughout where a partition has one currency anyway. */
  readonly currency: Int32Array;
  /** Per place: the amount (see `Amounts`). */
  readonly high: Float64Array;
  readonly low: Float64Array;
}

/** How days lie on the line. */
export interface Line {
  readonly firstDay: number;
  /** Days from one partition to the next. */
  readonly span: number;
}

export function lineOf(sides: readonly { side: Side; rows: Int32Array }[]): Line {
  let firstDay = Number.POSITIVE_INFINITY;
  let lastDay = Number.NEGATIVE_INFINITY;
  for (const { side, rows } of sides) {
    for (let i = 0; i < rows.length; i++) {
      const day = side.day[rows[i] as number] as number;
      if (day < firstDay) firstDay = day;
      if (day > lastDay) lastDay = day;
    }
  }
  return { firstDay, span: lastDay - firstDay + 1 };
}

/** @param oneCurrency whether all rows of a partition have the same currency. */
export function sortedRows(
  side: Side,
  rows: Int32Array,
  partition: Int32Array,
  line: Line,
  oneCurrency: boolean,
): SortedRows {
  const size = rows.length;
  const { amounts, day } = side;
  const places = new Float64Array(size);
  const lows = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const row = rows[i] as number;
    places[i] = (partition[i] as number) * line.span + ((day[row] as number) - line.firstDay);
    lows[i] = amounts.low[row] as number;
  }
  const words = wordsOf(lows);
  if (amounts.wide) words.push(...wordsOf(Float64Array.from(rows, (row) => amounts.high[row] as number)));
  if (!oneCurrency) words.push(new Uint32Array(rows.map((row) => side.currency[row] as number)));
  words.push(...wordsOf(places));
  const order = radixSort(words, size);
  const sorted = {
    size,
    rows: new Int32Array(size),
    line: new Float64Array(size),
    currency: new Int32Array(size),
    high: new Float64Array(size),
    low: new Float64Array(size),
  };
  for (let place = 0; place < size; place++) {
    const i = order[place] as number;
    const row = rows[i] as number;
    sorted.rows[place] = row;
    sorted.line[place] = places[i] as number;
    sorted.low[place] = lows[i] as number;
    if (!oneCurrency) sorted.currency[place] = side.currency[row] as number;
    if (amounts.wide) sorted.high[place] = amounts.high[row] as number;
  }
  return sorted;
}

/** The rows that are not among the taken places, still sorted. */
export function without(sorted: SortedRows, taken: Uint8Array): SortedRows {
  let size = 0;
  for (let place = 0; place < sorted.size; place++) if (taken[place] === 0) size++;
  const rest = {
    size,
    rows: new Int32Array(size),
    line: new Float64Array(size),
    currency: new Int32Array(size),
    high: new Float64Array(size),
    low: new Float64Array(size),
  };
  let at = 0;
  for (let place = 0; place < sorted.size; place++) {
    if (taken[place] === 1) continue;
    rest.rows[at] = sorted.rows[place] as number;
    rest.line[at] = sorted.line[place] as number;
    rest.currency[at] = sorted.currency[place] as number;
    rest.high[at] = sorted.high[place] as number;
    rest.low[at] = sorted.low[place] as number;
    at++;
  }
  return rest;
}
