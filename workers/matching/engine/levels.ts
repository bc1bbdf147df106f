import type { Cells } from './cells.ts';

/**
 * The cells of a side across the days: sorted by currency, then amount, then day. A level is one amount of one currency; on it
 * there is one cell per day. Where a lane asks which amounts there are on a day, a level asks which days have an amount.
 */
export interface Levels {
  readonly count: number;
  /** Place → cell. */
  readonly cells: Int32Array;
  /** Cell → place. */
  readonly placeOf: Int32Array;
  /** Per place. */
  readonly day: Int32Array;
  readonly level: Int32Array;
  /** First place of each level, and one more entry for the end of the last. */
  readonly start: Int32Array;
  /** Per level: its amount's place among all amounts. Ascends within a currency. */
  readonly amountPlace: Int32Array;
  /** One entry per currency: its first level, and one more entry for the end of the last. */
  readonly currencyStart: Int32Array;
}

export function levelsOf(cells: Cells): Levels {
  const { amountPlace, lane, lanes } = cells;
  const currency = lane.map((own) => lanes.currency[own] as number);
  const sorted = Int32Array.from({ length: cells.count }, (_, cell) => cell).sort(
    (a, b) =>
      (currency[a] as number) - (currency[b] as number) ||
      (amountPlace[a] as number) - (amountPlace[b] as number) ||
      a - b, // lanes, and so cells, ascend by day
  );
  const placeOf = new Int32Array(cells.count);
  const level = new Int32Array(cells.count);
  const start: number[] = [];
  const currencyStart: number[] = [];
  for (let place = 0; place < cells.count; place++) {
    const cell = sorted[place] as number;
    const before = sorted[place - 1];
    const isCurrency = before === undefined || currency[before] !== currency[cell];
    if (isCurrency) currencyStart.push(start.length);
    if (isCurrency || amountPlace[before] !== amountPlace[cell]) start.push(place);
    placeOf[cell] = place;
    level[place] = start.length - 1;
  }
  return {
    count: start.length,
    cells: sorted,
    placeOf,
    day: sorted.map((cell) => lanes.day[lane[cell] as number] as number),
    level,
    start: Int32Array.from([...start, cells.count]),
    amountPlace: Int32Array.from(start, (place) => amountPlace[sorted[place] as number] as number),
    currencyStart: Int32Array.from([...currencyStart, start.length]),
  };
}
