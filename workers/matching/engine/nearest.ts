import { type Amounts, carried } from './amounts.ts';
import {
  bringFirst,
  type Cells,
  cellsOf,
  dropFirst,
  firstAmountFrom,
  firstAtLeast,
  firstRow,
  openRows,
} from './cells.ts';
import { takeEqualCells, takeLonePairs } from './equal-pairs.ts';
import type { Forbidden } from './forbidden.ts';
import { NearnessQueue } from './nearness-queue.ts';
import type { Pace } from './pace.ts';
import { PartnerSearch } from './partner-search.ts';
import type { RowOrder } from './row-order.ts';
import type { Side } from './side.ts';
import { laneRows, lineOf, sortedRows, without } from './sorted-rows.ts';
import type { Terms } from './terms.ts';

const NOTHING = -1;

/** Rows of one side and the partition that each is in. */
export interface PartitionedRows {
  readonly rows: Int32Array;
  readonly partition: Int32Array;
}

/** What takes pairs. */
export interface Take {
  readonly near: (leftRow: number, rightRow: number) => void;
  /** Several, in two columns, of the same amount, day and currency. */
  readonly equal: (leftRows: Int32Array, rightRows: Int32Array) => void;
}

/**
 * Pairs rows within their partitions, nearest first: of all open pairs that satisfy the rule, always the one with the
 * smallest amount difference, then the fewest days, then the smaller left and the smaller right `externalId`, until
 * there is none. The order is total, so the answer is unique and does not depend on the order of the rows.
 *
 * Where the rule takes the same day, pairs of equal amount and day come first, found by walking both sides in step. What remains
 * is searched: each open left cell knows its nearest open right cell; a queue holds the left cells by that. A right cell that is
 * gone is noticed when its left cell comes to the top: what was taken away can only have made that cell's nearest one farther,
 * so it did not come too late. A left cell does not look past its open neighbours on its lane: what lies at or behind a neighbour
 * is nearer to the neighbour, and satisfies the rule with it too (see `Terms`). So a right cell is the nearest one of at
 * most two left cells per lane, and a crowd of left records around one right record is not searched again for each pair.
 *
 * A left row with forbidden partners is a cell by itself and nobody's neighbour: what is nearer to it may be what it must not get. It sees all of
 * its lanes, and gets the first row of a right cell that it may have.
 *
 * Memory: some 100 bytes per row.
 *
 * @returns how many pairs were held against the rule.
 */
export function pairNearestFirst(
  sides: { left: Side; right: Side },
  rows: { left: PartitionedRows; right: PartitionedRows },
  terms: Terms,
  forbidden: Forbidden,
  take: Take,
  pace: Pace,
): number {
  const line = lineOf([
    { side: sides.left, rows: rows.left.rows },
    { side: sides.right, rows: rows.right.rows },
  ]);
  pace.check();
  let left = laneRows(sides.left, rows.left, line, terms.oneCurrency);
  let right = laneRows(sides.right, rows.right, line, terms.oneCurrency);
  // Across currencies the equally near rows of a place are in several cells; the search orders those.
  const equalFirst = terms.oneCurrency && terms.days.later.from === 0 && terms.days.later.to >= 0;
  let candidates = 0;
  if (equalFirst) {
    const { leftTaken, rightTaken, pairs } = takeLonePairs(left, right, forbidden, take.equal, pace);
    candidates += pairs;
    left = without(left, leftTaken);
    right = without(right, rightTaken);
  }
  if (left.size === 0 || right.size === 0) return candidates;
  pace.check();
  const isAlone = forbidden.isEmpty ? undefined : (row: number) => forbidden.of(row) !== undefined;
  left = sortedRows(left, isAlone);
  pace.check();
  right = sortedRows(right);
  pace.check();
  const [leftCells, rightCells] = [cellsOf(left, sides.left.order, isAlone), cellsOf(right, sides.right.order)];
  pace.check();
  if (equalFirst) candidates += takeEqualCells(leftCells, rightCells, take.equal, isAlone);
  const pairing = new Pairing(leftCells, rightCells, sides, terms, forbidden, line.span, pace);
  while (pairing.takeNearest(take.near));
  return candidates + pairing.candidates;
}

class Pairing {
  readonly #pace: Pace;
  readonly #forbidden: Forbidden;
  readonly #left: Cells;
  readonly #right: Cells;
  readonly #amounts: Pick<Amounts, 'unit' | 'wide'>;
  readonly #leftOrder: RowOrder;
  readonly #rightOrder: RowOrder;
  readonly #search: PartnerSearch;
  /** Open neighbours of each left cell on its lane, NOTHING at the ends. */
  readonly #below: Int32Array;
  readonly #above: Int32Array;
  /** Per left cell: its nearest right cell, that cell's first row when it was found, and how far that is. */
  readonly #nearest: Int32Array;
  readonly #nearestRow: Int32Array;
  readonly #differenceHigh: Float64Array;
  readonly #differenceLow: Float64Array;
  readonly #days: Int32Array;
  /** Per left cell: whether something was left to its neighbour below (1) or above (2). */
  readonly #leftOut: Uint8Array;
  readonly #queue: NearnessQueue;

  constructor(
    left: Cells,
    right: Cells,
    sides: { left: Side; right: Side },
    terms: Terms,
    forbidden: Forbidden,
    span: number,
    pace: Pace,
  ) {
    this.#pace = pace;
    this.#forbidden = forbidden;
    this.#left = left;
    this.#right = right;
    this.#amounts = sides.left.amounts;
    this.#leftOrder = sides.left.order;
    this.#rightOrder = sides.right.order;
    this.#search = new PartnerSearch(left, right, terms, this.#amounts, this.#rightOrder, span);
    const { lane, count } = left;
    this.#below = new Int32Array(count).fill(NOTHING);
    this.#above = new Int32Array(count).fill(NOTHING);
    this.#nearest = new Int32Array(count);
    this.#nearestRow = new Int32Array(count);
    this.#differenceHigh = new Float64Array(count);
    this.#differenceLow = new Float64Array(count);
    this.#days = new Int32Array(count);
    this.#leftOut = new Uint8Array(count);
    for (let cell = 0; cell < right.count; cell++) if (openRows(right, cell) === 0) this.#search.close(cell);
    let before = NOTHING;
    for (let cell = 0; cell < count; cell++) {
      if (openRows(left, cell) === 0 || this.#forbiddenOf(cell)) continue;
      if (before !== NOTHING && lane[before] === lane[cell]) {
        this.#below[cell] = before;
        this.#above[before] = cell;
      }
      before = cell;
    }
    this.#queue = this.#filledQueue();
  }

  #filledQueue(): NearnessQueue {
    const { count } = this.#left;
    const items = new Int32Array(count);
    const leftId = new Int32Array(count);
    const leftPlace = new Int32Array(count);
    const rightId = new Int32Array(count);
    let size = 0;
    for (let cell = 0; cell < count; cell++) {
      if (openRows(this.#left, cell) === 0 || !this.#find(cell)) continue;
      items[size++] = cell;
      const row = firstRow(this.#left, cell);
      leftId[cell] = this.#leftOrder.byId[row] as number;
      leftPlace[cell] = this.#leftOrder.byRow[row] as number;
      rightId[cell] = this.#rightOrder.byId[this.#nearestRow[cell] as number] as number;
    }
    return new NearnessQueue(
      count,
      items.subarray(0, size),
      [this.#differenceHigh, this.#differenceLow, this.#days, leftId, rightId, leftPlace],
      (a, b) => this.#isNearer(a, b),
    );
  }

  get candidates(): number {
    return this.#search.candidates;
  }

  /** Takes the nearest open pair of all, and those of the same two cells that come next; false when no two open rows satisfy the rule. */
  takeNearest(take: Take['near']): boolean {
    for (let cell = this.#queue.first; cell !== NOTHING; cell = this.#queue.first) {
      const partner = this.#nearest[cell] as number;
      const forbidden = this.#forbiddenOf(cell);
      const row = this.#nearestRow[cell] as number;
      if (firstRow(this.#right, partner, forbidden) !== row) {
        this.#place(cell);
        continue;
      }
      if (forbidden) bringFirst(this.#right, partner, row);
      const most = Math.min(openRows(this.#left, cell), openRows(this.#right, partner));
      const pairs = most > 1 && this.#haveOnlyEachOther(cell, partner) ? most : 1;
      const leftHead = this.#left.head[cell] as number;
      const rightHead = this.#right.head[partner] as number;
      for (let i = 0; i < pairs; i++) {
        this.#pace.step();
        take(this.#left.rows[leftHead + i] as number, this.#right.rows[rightHead + i] as number);
      }
      if (dropFirst(this.#right, partner, pairs)) this.#search.close(partner);
      if (dropFirst(this.#left, cell, pairs)) this.#close(cell);
      else this.#place(cell);
      return true;
    }
    return false;
  }

  /** Puts a left cell where its nearest partner, as it is now, belongs. */
  #place(cell: number): void {
    if (this.#find(cell)) this.#queue.update(cell);
    else this.#queue.remove(cell);
  }

  /** Finds a left cell's nearest partner; says whether there is one. */
  #find(cell: number): boolean {
    this.#pace.step();
    const search = this.#search;
    search.find(cell, this.#below[cell] as number, this.#above[cell] as number, this.#forbiddenOf(cell));
    this.#leftOut[cell] = (search.leftOutBelow ? 1 : 0) | (search.leftOutAbove ? 2 : 0);
    if (search.partner === NOTHING) return false;
    this.#nearest[cell] = search.partner;
    this.#nearestRow[cell] = search.row;
    this.#differenceHigh[cell] = search.difference.high;
    this.#differenceLow[cell] = search.difference.low;
    this.#days[cell] = search.days;
    return true;
  }

  /** The right rows that a left cell must not get. Only cells of one row have any. */
  #forbiddenOf(cell: number): ReadonlySet<number> | undefined {
    return this.#forbidden.isEmpty ? undefined : this.#forbidden.of(firstRow(this.#left, cell));
  }

  /** Takes an emptied left cell out; its neighbours see farther now. */
  #close(cell: number): void {
    this.#queue.remove(cell);
    const below = this.#below[cell] as number;
    const above = this.#above[cell] as number;
    if (below !== NOTHING) this.#above[below] = above;
    if (above !== NOTHING) this.#below[above] = below;
    if (below !== NOTHING && ((this.#leftOut[below] as number) & 2) !== 0) this.#place(below);
    if (above !== NOTHING && ((this.#leftOut[above] as number) & 1) !== 0) this.#place(above);
  }

  /**
   * Whether no other cell is as far from one of the two as they are from each other: then the second rows of both come right after
   * the first ones, and so on. Cells that are empty by now count too; that only costs time.
   */
  #haveOnlyEachOther(leftCell: number, rightCell: number): boolean {
    return (
      this.#cellsAsFar(this.#right, this.#left, leftCell, leftCell) === 1 &&
      this.#cellsAsFar(this.#left, this.#right, rightCell, leftCell) === 1
    );
  }

  /** How many cells of a side are as far from a cell of the other side as a left cell is from its partner. */
  #cellsAsFar(cells: Cells, others: Cells, other: number, leftCell: number): number {
    const days = this.#days[leftCell] as number;
    const high = this.#differenceHigh[leftCell] as number;
    const low = this.#differenceLow[leftCell] as number;
    const { wide } = this.#amounts;
    const ownHigh = others.high[other] as number;
    const ownLow = others.low[other] as number;
    const amounts = [carried(wide, ownHigh + high, ownLow + low)];
    if (high !== 0 || low !== 0) amounts.push(carried(wide, ownHigh - high, ownLow - low));
    const line = others.lanes.line[others.lane[other] as number] as number;
    let count = 0;
    for (const day of days === 0 ? [line] : [line - days, line + days]) {
      const { lanes } = cells;
      for (let lane = firstAtLeast(lanes.line, day, 0, lanes.count); lanes.line[lane] === day; lane++) {
        const end = lanes.start[lane + 1] as number;
        for (const amount of amounts) {
          let cell = firstAmountFrom(cells, amount.high, amount.low, lanes.start[lane] as number, end);
          for (; cell < end && cells.low[cell] === amount.low && cells.high[cell] === amount.high; cell++) count++;
        }
      }
    }
    return count;
  }

  /** Whether the nearest pair of one left cell comes before that of another. */
  #isNearer(a: number, b: number): boolean {
    const byDistance =
      (this.#differenceHigh[a] as number) - (this.#differenceHigh[b] as number) ||
      (this.#differenceLow[a] as number) - (this.#differenceLow[b] as number) ||
      (this.#days[a] as number) - (this.#days[b] as number);
    if (byDistance !== 0) return byDistance < 0;
    const leftA = firstRow(this.#left, a);
    const leftB = firstRow(this.#left, b);
    const rightA = this.#nearestRow[a] as number;
    const rightB = this.#nearestRow[b] as number;
    const by =
      (this.#leftOrder.byId[leftA] as number) - (this.#leftOrder.byId[leftB] as number) ||
      (this.#rightOrder.byId[rightA] as number) - (this.#rightOrder.byId[rightB] as number) ||
      (this.#leftOrder.byRow[leftA] as number) - (this.#leftOrder.byRow[leftB] as number);
    return by < 0;
  }
}
