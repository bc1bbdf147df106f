import type { RowOrder } from './row-order.ts';
import type { IsAlone, SortedRows } from './sorted-rows.ts';

/**
 * The rows of one side, in lanes and cells. A lane is a partition, a day and a currency; its cells are the different
 * amounts on it, ascending; a cell's rows are in their side's order and are taken from the front. However many records
 * share day, currency and amount, they are one cell: that is what makes hot keys cheap.
 */
export interface Cells {
  readonly count: number;
  readonly rows: Int32Array;
  /** Per cell: place in `rows` of its first open row. Equal to `end` when the cell is empty. */
  readonly head: Int32Array;
  readonly end: Int32Array;
  /** Per cell: its amount (see `Amounts`). Ascends within a lane. */
  readonly high: Float64Array;
  readonly low: Float64Array;
  readonly lane: Int32Array;
  readonly lanes: {
    readonly count: number;
    /** Where the lane's day and partition are on the line (see `SortedRows`). Ascends. */
    readonly line: Float64Array;
    readonly currency: Int32Array;
    /** First cell of each lane, and one more entry for the end of the last. */
    readonly start: Int32Array;
  };
}

/**
 * Ranks the rows in their side's order, and lays them in cells.
 *
 * @param isAlone whether a row is a cell by itself; such rows come last of their day, currency and amount.
 */
export function cellsOf(sorted: SortedRows, order: RowOrder, isAlone?: IsAlone): Cells {
  const { size, line, currency, high, low } = sorted;
  const cellOfPlace = new Int32Array(size);
  let count = 0;
  let laneCount = 0;
  const firstPlace = new Int32Array(size + 1);
  const lane = new Int32Array(size);
  const laneStart = new Int32Array(size + 1);
  for (let place = 0; place < size; place++) {
    const isLane = place === 0 || line[place] !== line[place - 1] || currency[place] !== currency[place - 1];
    if (isLane) laneStart[laneCount++] = count;
    const isCell = isLane || low[place] !== low[place - 1] || high[place] !== high[place - 1];
    if (isCell || isAlone?.(sorted.rows[place] as number)) {
      firstPlace[count] = place;
      lane[count] = laneCount - 1;
      count++;
    }
    cellOfPlace[place] = count - 1;
  }
  laneStart[laneCount] = count;
  firstPlace[count] = size;
  const places = firstPlace.slice(0, count);
  const lanePlaces = laneStart.subarray(0, laneCount).map((cell) => places[cell] as number);
  return {
    count,
    rows: inOrder(sorted.rows, cellOfPlace, firstPlace.slice(0, count), order),
    head: places,
    end: firstPlace.slice(1, count + 1),
    high: gathered(high, places),
    low: gathered(low, places),
    lane: lane.slice(0, count),
    lanes: {
      count: laneCount,
      line: gathered(line, lanePlaces),
      currency: lanePlaces.map((place) => currency[place] as number),
      start: laneStart.slice(0, laneCount + 1),
    },
  };
}

function gathered(values: Float64Array, places: Int32Array): Float64Array {
  const result = new Float64Array(places.length);
  for (let i = 0; i < places.length; i++) result[i] = values[places[i] as number] as number;
  return result;
}

/** The rows cell by cell, each cell's in their side's order: dealt out to their cells in that order. */
function inOrder(rows: Int32Array, cellOfPlace: Int32Array, next: Int32Array, order: RowOrder): Int32Array {
  const ranked = order.rank(rows);
  const cellOfRank = new Int32Array(rows.length);
  for (let place = 0; place < rows.length; place++) {
    cellOfRank[order.byRow[rows[place] as number] as number] = cellOfPlace[place] as number;
  }
  const result = new Int32Array(rows.length);
  for (let rank = 0; rank < rows.length; rank++) {
    const cell = cellOfRank[rank] as number;
    const at = next[cell] as number;
    next[cell] = at + 1;
    result[at] = ranked[rank] as number;
  }
  return result;
}

/** The first open row of a cell, of those that are not left out; -1 when there is none. */
export function firstRow(cells: Cells, cell: number, leftOut?: ReadonlySet<number>): number {
  const end = cells.end[cell] as number;
  for (let at = cells.head[cell] as number; at < end; at++) {
    const row = cells.rows[at] as number;
    if (leftOut === undefined || !leftOut.has(row)) return row;
  }
  return -1;
}

/** Moves an open row to the front of its cell. */
export function bringFirst(cells: Cells, cell: number, row: number): void {
  const head = cells.head[cell] as number;
  const at = cells.rows.indexOf(row, head);
  cells.rows.copyWithin(head + 1, head, at);
  cells.rows[head] = row;
}

export function openRows(cells: Cells, cell: number): number {
  return (cells.end[cell] as number) - (cells.head[cell] as number);
}

/** Takes the first rows out of a cell; says whether the cell is empty now. */
export function dropFirst(cells: Cells, cell: number, rows: number): boolean {
  const head = (cells.head[cell] as number) + rows;
  cells.head[cell] = head;
  return head === cells.end[cell];
}

/** The first cell from `from` up to `to`, on one lane, whose amount is at least the wanted one; `to` when there is none. */
export function firstAmountFrom(cells: Cells, high: number, low: number, from: number, to: number): number {
  const { high: highs, low: lows } = cells;
  let least = from;
  let most = to;
  while (least < most) {
    const middle = (least + most) >>> 1;
    const h = highs[middle] as number;
    if (h < high || (h === high && (lows[middle] as number) < low)) least = middle + 1;
    else most = middle;
  }
  return least;
}

/** The first index from `low` up to `high` whose value is at least `wanted`; `high` when there is none. */
export function firstAtLeast(ascending: Float64Array, wanted: number, low: number, high: number): number {
  let from = low;
  let to = high;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((ascending[middle] as number) < wanted) from = middle + 1;
    else to = middle;
  }
  return from;
}
