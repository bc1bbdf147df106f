import type { Cells } from './cells.ts';
import { radixSort, wordsOf } from './radix.ts';

/**
 * The cells of a side across the days: sorted by partition, currency, amount and day. A level is one amount of one currency and
 * partition; on it there is one cell per day. Where a lane asks which amounts there are on a day, a level asks which days have an
 * amount. The levels of one currency and partition are a tower.
 */
export interface Levels {
  /** Place → cell. */
  readonly cells: Int32Array;
  /** Cell → place. */
  readonly placeOf: Int32Array;
  /** Per place: where the cell's day is on the line. */
  readonly line: Float64Array;
  readonly level: Int32Array;
  /** First place of each level, and one more entry for the end of the last. */
  readonly start: Int32Array;
  /** Per level: its amount (see `Amounts`). Ascends within a tower. */
  readonly high: Float64Array;
  readonly low: Float64Array;
  /** Per tower: its partition. Ascends. */
  readonly towerPartition: Float64Array;
  /** First level of each tower, and one more entry for the end of the last. */
  readonly towerStart: Int32Array;
}

/** @param span days from one partition to the next on the line. */
export function levelsOf(cells: Cells, span: number): Levels {
  const { count, lane, lanes } = cells;
  const partition = new Float64Array(count);
  const currency = new Uint32Array(count);
  for (let cell = 0; cell < count; cell++) {
    const own = lane[cell] as number;
    partition[cell] = Math.floor((lanes.line[own] as number) / span);
    currency[cell] = lanes.currency[own] as number;
  }
  // Lanes, and so cells, ascend by day already.
  const order = radixSort([...wordsOf(cells.low), ...wordsOf(cells.high), currency, ...wordsOf(partition)], count);
  const placeOf = new Int32Array(count);
  const level = new Int32Array(count);
  const line = new Float64Array(count);
  const start: number[] = [];
  const towerStart: number[] = [];
  for (let place = 0; place < count; place++) {
    const cell = order[place] as number;
    const before = order[place - 1];
    const isTower =
      before === undefined || currency[before] !== currency[cell] || partition[before] !== partition[cell];
    if (isTower) towerStart.push(start.length);
    if (isTower || cells.low[before] !== cells.low[cell] || cells.high[before] !== cells.high[cell]) start.push(place);
    placeOf[cell] = place;
    level[place] = start.length - 1;
    line[place] = lanes.line[lane[cell] as number] as number;
  }
  const cellOfLevel = Int32Array.from(start, (place) => order[place] as number);
  return {
    cells: order,
    placeOf,
    line,
    level,
    start: Int32Array.from([...start, count]),
    high: Float64Array.from(cellOfLevel, (cell) => cells.high[cell] as number),
    low: Float64Array.from(cellOfLevel, (cell) => cells.low[cell] as number),
    towerPartition: Float64Array.from(towerStart, (first) => partition[cellOfLevel[first] as number] as number),
    towerStart: Int32Array.from([...towerStart, start.length]),
  };
}
