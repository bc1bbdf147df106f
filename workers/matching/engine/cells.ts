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
  const { day, currency, amount } = side;
  const { byRow } = side.order();
  const rows = partitionRows.slice().sort((a, b) => {
    const lane = (day[a] as number) - (day[b] as number) || (currency[a] as number) - (currency[b] as number);
    if (lane !== 0) return lane;
    const amountA = amount[a] as bigint;
    const amountB = amount[b] as bigint;
    if (amountA !== amountB) return amountA < amountB ? -1 : 1;
    return (byRow[a] as number) - (byRow[b] as number);
  });
  const head: number[] = [];
  const amounts: bigint[] = [];
  const laneOfCell: number[] = [];
  const laneStart: number[] = [];
  const laneRow: number[] = [];
  for (let place = 0; place < rows.length; place++) {
    const row = rows[place] as number;
    const lane = laneRow.at(-1);
    const sameLane = lane !== undefined && day[lane] === day[row] && currency[lane] === currency[row];
    if (sameLane && amounts.at(-1) === amount[row]) continue;
    if (!sameLane) {
      laneStart.push(head.length);
      laneRow.push(row);
    }
    head.push(place);
    amounts.push(amount[row] as bigint);
    laneOfCell.push(laneRow.length - 1);
  }
  return {
    count: head.length,
    rows,
    head: Int32Array.from(head),
    end: Int32Array.from([...head.slice(1), rows.length]),
    amount: amounts,
    lane: Int32Array.from(laneOfCell),
    lanes: {
      count: laneRow.length,
      day: Int32Array.from(laneRow, (row) => day[row] as number),
      currency: Int32Array.from(laneRow, (row) => currency[row] as number),
      start: Int32Array.from([...laneStart, head.length]),
    },
  };
}

/** The first cell of a lane whose amount is at least `amount`; the lane's end when there is none. */
export function firstCellFrom(cells: Cells, lane: number, amount: bigint): number {
  let low = cells.lanes.start[lane] as number;
  let high = cells.lanes.start[lane + 1] as number;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((cells.amount[middle] as bigint) < amount) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first lane on `day` or later; the number of lanes when there is none. */
export function firstLaneFrom(cells: Cells, day: number): number {
  let low = 0;
  let high = cells.lanes.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((cells.lanes.day[middle] as number) < day) low = middle + 1;
    else high = middle;
  }
  return low;
}
