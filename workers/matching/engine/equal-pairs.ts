import { type Cells, dropFirst, openRows } from './cells.ts';
import type { SortedRows } from './sorted-rows.ts';

/**
 * Pairs of which nothing can be nearer: the same amount on the same day, where a rule takes the same day. All rows of one side on
 * such a place satisfy the rule with all of the other, so the first goes with the first, the second with the second.
 *
 * This file takes them where both sides' rows are walked in step, in linear time; most reconciliations consist of little else.
 */

/** Pairs the rows that are alone on their side with day, currency and amount: no order has to be known for that. Marks the places taken. */
export function takeLonePairs(
  left: SortedRows,
  right: SortedRows,
  take: (leftRow: number, rightRow: number) => void,
): { leftTaken: Uint8Array; rightTaken: Uint8Array; pairs: number } {
  const leftTaken = new Uint8Array(left.size);
  const rightTaken = new Uint8Array(right.size);
  let pairs = 0;
  let r = 0;
  for (let l = 0; l < left.size; l++) {
    if (isRepeated(left, l)) continue;
    while (r < right.size && comparePlaces(right, r, left, l) < 0) r++;
    if (r === right.size) break;
    if (comparePlaces(right, r, left, l) !== 0 || isRepeated(right, r)) continue;
    take(left.rows[l] as number, right.rows[r] as number);
    leftTaken[l] = 1;
    rightTaken[r] = 1;
    pairs++;
  }
  return { leftTaken, rightTaken, pairs };
}

/** Pairs the rows of equal cells, each side's in its order. @returns how many pairs of cells that were. */
export function takeEqualCells(left: Cells, right: Cells, take: (leftRow: number, rightRow: number) => void): number {
  let cells = 0;
  let r = 0;
  for (let l = 0; l < left.count; l++) {
    while (r < right.count && compareCells(right, r, left, l) < 0) r++;
    if (r === right.count) break;
    if (compareCells(right, r, left, l) !== 0) continue;
    const pairs = Math.min(openRows(left, l), openRows(right, r));
    const [leftHead, rightHead] = [left.head[l] as number, right.head[r] as number];
    for (let i = 0; i < pairs; i++) {
      take(left.rows[leftHead + i] as number, right.rows[rightHead + i] as number);
    }
    dropFirst(left, l, pairs);
    dropFirst(right, r, pairs);
    cells++;
  }
  return cells;
}

function isRepeated(sorted: SortedRows, place: number): boolean {
  return (
    (place > 0 && comparePlaces(sorted, place - 1, sorted, place) === 0) ||
    (place + 1 < sorted.size && comparePlaces(sorted, place, sorted, place + 1) === 0)
  );
}

function comparePlaces(a: SortedRows, i: number, b: SortedRows, j: number): number {
  return (
    (a.line[i] as number) - (b.line[j] as number) ||
    (a.currency[i] as number) - (b.currency[j] as number) ||
    (a.high[i] as number) - (b.high[j] as number) ||
    (a.low[i] as number) - (b.low[j] as number)
  );
}

function compareCells(a: Cells, i: number, b: Cells, j: number): number {
  const [laneA, laneB] = [a.lane[i] as number, b.lane[j] as number];
  return (
    (a.lanes.line[laneA] as number) - (b.lanes.line[laneB] as number) ||
    (a.lanes.currency[laneA] as number) - (b.lanes.currency[laneB] as number) ||
    (a.high[i] as number) - (b.high[j] as number) ||
    (a.low[i] as number) - (b.low[j] as number)
  );
}
