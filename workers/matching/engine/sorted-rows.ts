import type { PartitionedRows } from './nearest.ts';
import { radixSort, wordsOf } from './radix.ts';
import type { Side } from './side.ts';

/**
 * Rows of one side and the lane of each: its partition, day and currency. Partition and day are one number, the place on a line on which
 * the partitions lie end to end.
 */
export interface LaneRows {
  readonly size: number;
  readonly rows: Int32Array;
  /** Per place: partition × span + day. */
  readonly line: Float64Array;
  /** 0 throughout where a partition has one currency anyway. */
  readonly currency: Int32Array;
  /** Per place: the amount (see `Amounts`). */
  readonly high: Float64Array;
  readonly low: Float64Array;
  readonly wide: boolean;
}

/** By line, currency and amount. */
export type SortedRows = LaneRows;

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

/**
 * @param rows of the side, each in the partition along it.
 * @param oneCurrency whether all rows of a partition have the same currency.
 */
export function laneRows(side: Side, { rows, partition }: PartitionedRows, line: Line, oneCurrency: boolean): LaneRows {
  const { amounts, day } = side;
  const { wide } = amounts;
  const result = emptyRows(rows.length, wide);
  result.rows.set(rows);
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    result.line[i] = (partition[i] as number) * line.span + ((day[row] as number) - line.firstDay);
    result.low[i] = amounts.low[row] as number;
    if (wide) result.high[i] = amounts.high[row] as number;
    if (!oneCurrency) result.currency[i] = side.currency[row] as number;
  }
  return result;
}

/** Whether a row has to be looked at by itself. */
export type IsAlone = (row: number) => boolean;

/** @param isAlone which rows come last of those that are equal in all. */
export function sortedRows(given: LaneRows, isAlone?: IsAlone): SortedRows {
  const words = wordsOf(given.low);
  if (isAlone) words.unshift(Uint32Array.from(given.rows, (row) => (isAlone(row) ? 1 : 0)));
  if (given.wide) words.push(...wordsOf(given.high));
  words.push(new Uint32Array(given.currency), ...wordsOf(given.line));
  return chosen(given, radixSort(words, given.size), given.size);
}

/** The rows that are not among the taken places, in their order. */
export function without(given: LaneRows, taken: Uint8Array): LaneRows {
  const places = new Int32Array(given.size);
  let size = 0;
  for (let place = 0; place < given.size; place++) if (taken[place] === 0) places[size++] = place;
  return chosen(given, places, size);
}

function chosen(given: LaneRows, places: Int32Array, size: number): LaneRows {
  const { wide } = given;
  const result = emptyRows(size, wide);
  for (let i = 0; i < size; i++) {
    const place = places[i] as number;
    result.rows[i] = given.rows[place] as number;
    result.line[i] = given.line[place] as number;
    result.currency[i] = given.currency[place] as number;
    result.low[i] = given.low[place] as number;
    if (wide) result.high[i] = given.high[place] as number;
  }
  return result;
}

function emptyRows(size: number, wide: boolean): LaneRows {
  return {
    size,
    rows: new Int32Array(size),
    line: new Float64Array(size),
    currency: new Int32Array(size),
    high: new Float64Array(size),
    low: new Float64Array(size),
    wide,
  };
}
