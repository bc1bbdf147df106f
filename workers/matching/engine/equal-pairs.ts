import { type Cells, dropFirst, openRows } from './cells.ts';
import type { Forbidden } from './forbidden.ts';
import { amountKeys, numberKey } from './keys.ts';
import { type LonePartners, lonePartners } from './lone-partners.ts';
import type { Take } from './nearest.ts';
import type { Pace } from './pace.ts';
import { partition } from './partitions.ts';
import type { IsAlone, LaneRows } from './sorted-rows.ts';

/**
 * Pairs of which nothing can be nearer: the same amount on the same day, where a rule takes the same day. All rows of one side on
 * such a place satisfy the rule with all of the other, so the first goes with the first, the second with the second.
 *
 * This file takes them in linear time; most reconciliations consist of little else.
 */

/**
 * Pairs the rows that are alone on their side with day and amount: no order has to be known for that, and what is gone does not have to be
 * sorted. Marks the places taken.
 */
export function takeLonePairs(
  left: LaneRows,
  right: LaneRows,
  forbidden: Forbidden,
  take: Take['equal'],
  pace: Pace,
): { leftTaken: Uint8Array; rightTaken: Uint8Array; pairs: number } {
  const leftTaken = new Uint8Array(left.size);
  const rightTaken = new Uint8Array(right.size);
  const keys = [numberKey(left.line, right.line), ...amountKeys(left, right)];
  const lone = lonePartners(partition(placesOf(left), placesOf(right), keys, () => pace.check()));
  pace.check();
  const { lefts, rights } = allowed(left, right, lone, forbidden);
  for (let i = 0; i < lefts.length; i++) {
    leftTaken[lefts[i] as number] = 1;
    rightTaken[rights[i] as number] = 1;
  }
  take(rowsAt(left, lefts), rowsAt(right, rights));
  return { leftTaken, rightTaken, pairs: lefts.length };
}

/** Pairs of places, less those of forbidden pairs of rows. */
function allowed(
  left: LaneRows,
  right: LaneRows,
  { lefts, rights }: LonePartners,
  forbidden: Forbidden,
): Pick<LonePartners, 'lefts' | 'rights'> {
  if (forbidden.isEmpty) return { lefts, rights };
  const is = (i: number) =>
    !forbidden.has(left.rows[lefts[i] as number] as number, right.rows[rights[i] as number] as number);
  return { lefts: lefts.filter((_, i) => is(i)), rights: rights.filter((_, i) => is(i)) };
}

function rowsAt({ rows }: LaneRows, places: Int32Array): Int32Array {
  const result = new Int32Array(places.length);
  for (let i = 0; i < places.length; i++) result[i] = rows[places[i] as number] as number;
  return result;
}

function placesOf({ size }: LaneRows): Int32Array {
  const places = new Int32Array(size);
  for (let place = 0; place < size; place++) places[place] = place;
  return places;
}

/**
 * Pairs the rows of equal cells, each side's in its order, except where a row is a cell by itself: there the search has to look.
 *
 * @returns how many pairs of cells that were.
 */
export function takeEqualCells(left: Cells, right: Cells, take: Take['equal'], isAlone?: IsAlone): number {
  const most = Math.min(left.rows.length, right.rows.length);
  const [lefts, rights] = [new Int32Array(most), new Int32Array(most)];
  let size = 0;
  let cells = 0;
  let r = 0;
  for (let l = 0; l < left.count; l++) {
    while (r < right.count && compareCells(right, r, left, l) < 0) r++;
    if (r === right.count) break;
    if (compareCells(right, r, left, l) !== 0 || hasAlone(left, l, isAlone)) continue;
    const pairs = Math.min(openRows(left, l), openRows(right, r));
    const [leftHead, rightHead] = [left.head[l] as number, right.head[r] as number];
    for (let i = 0; i < pairs; i++) {
      lefts[size] = left.rows[leftHead + i] as number;
      rights[size++] = right.rows[rightHead + i] as number;
    }
    dropFirst(left, l, pairs);
    dropFirst(right, r, pairs);
    cells++;
  }
  take(lefts.subarray(0, size), rights.subarray(0, size));
  return cells;
}

/** Whether a row of a cell's day, currency and amount is a cell by itself; such cells come after the others' one. */
function hasAlone(cells: Cells, cell: number, isAlone: IsAlone | undefined): boolean {
  if (isAlone === undefined) return false;
  if (isAlone(cells.rows[cells.head[cell] as number] as number)) return true;
  return cell + 1 < cells.count && compareCells(cells, cell, cells, cell + 1) === 0;
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
