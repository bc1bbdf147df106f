import type { Side } from './side.ts';

/**
 * The rows of one side of a partition, in lanes and cells. A lane is a day and a currency; its cells are the different
 * amounts on it, ascending; a cell's rows are in their side's order and are taken from the front. However many records
 * share day, currency and amount, they are one cell: that is what makes hot keys cheap.
 */
export interface Cells {
  readonly count: number;
  readonly rows: Int32Array;
  /** Per cell: place in `rows` of its first open row. Equal to `end` when the cell is empty. */
  readonly head: Int32Array;
  readonly end: Int32Array;
  readonly amount: readonly bigint[];
  /** Per cell: its amount's place among all amounts (see `Side`). Ascends within a lane. */
  readonly amountPlace: Int32Array;
  readonly lane: Int32Array;
  readonly lanes: {
    readonly count: number;
    readonly day: Int32Array;
    readonly currency: Int32Array;
    /** First cell of each lane, and one more entry for the end of the last. Lanes ascend by day. */
    readonly start: Int32Array;
  };
}

export function cellsOf(side: Side, partitionRows: Int32Array): Cells {
  const { day, currency } = side;
  const amountPlace = side.amountPlace();
  const { byRow } = side.order();
  const rows = partitionRows
    .slice()
    .sort(
      (a, b) =>
        (day[a] as number) - (day[b] as number) ||
        (currency[a] as number) - (currency[b] as number) ||
        (amountPlace[a] as number) - (amountPlace[b] as number) ||
        (byRow[a] as number) - (byRow[b] as number),
    );
  const sameLane = (a: number, b: number) => day[a] === day[b] && currency[a] === currency[b];
  const head: number[] = [];
  const laneOfCell: number[] = [];
  const laneStart: number[] = [];
  for (let place = 0; place < rows.length; place++) {
    const row = rows[place] as number;
    const before = rows[place - 1];
    const isLane = before === undefined || !sameLane(row, before);
    if (isLane) laneStart.push(head.length);
    if (!isLane && amountPlace[before] === amountPlace[row]) continue;
    head.push(place);
    laneOfCell.push(laneStart.length - 1);
  }
  const firstRows = Int32Array.from(head, (place) => rows[place] as number);
  const laneRows = Int32Array.from(laneStart, (cell) => firstRows[cell] as number);
  return {
    count: head.length,
    rows,
    head: Int32Array.from(head),
    end: Int32Array.from([...head.slice(1), rows.length]),
    amount: Array.from(firstRows, (row) => side.amount[row] as bigint),
    amountPlace: firstRows.map((row) => amountPlace[row] as number),
    lane: Int32Array.from(laneOfCell),
    lanes: {
      count: laneStart.length,
      day: laneRows.map((row) => day[row] as number),
      currency: laneRows.map((row) => currency[row] as number),
      start: Int32Array.from([...laneStart, head.length]),
    },
  };
}

/** The first open row of a cell; -1 when the cell is empty. */
export function firstRow(cells: Cells, cell: number): number {
  const head = cells.head[cell] as number;
  return head < (cells.end[cell] as number) ? (cells.rows[head] as number) : -1;
}

/** Takes the first row out of a cell; says whether the cell is empty now. */
export function dropFirst(cells: Cells, cell: number): boolean {
  const head = (cells.head[cell] as number) + 1;
  cells.head[cell] = head;
  return head === cells.end[cell];
}

/** The first index from `low` up to `high` whose value is at least `wanted`; `high` when there is none. */
export function firstAtLeast(ascending: Int32Array, wanted: number, low: number, high: number): number {
  let from = low;
  let to = high;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((ascending[middle] as number) < wanted) from = middle + 1;
    else to = middle;
  }
  return from;
}
