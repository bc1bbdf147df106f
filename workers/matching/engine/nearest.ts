import { type Cells, cellsOf, firstCellFrom, firstLaneFrom } from './cells.ts';
import { amountPartReaches, WHOLE } from './confidence.ts';
import { IndexedHeap } from './heap.ts';
import { OpenSlots } from './open-slots.ts';
import type { Pace } from './pace.ts';
import type { Side } from './side.ts';
import { leastAmountPartOf, type Terms } from './terms.ts';

const NOTHING = -1;

/**
 * Pairs the rows of one partition, nearest first: of all open pairs that satisfy the rule, always the one with the
 * smallest amount difference, then the fewest days, then the smaller left and the smaller right `externalId`, until
 * there is none. The order is total, so the answer is unique and does not depend on the order of the rows.
 *
 * Each open left cell knows its nearest open right cell; a heap holds the cells by that. A right cell that is gone is noticed
 * when its left cell comes to the top: what was taken away can only have made that cell's nearest one farther, so its place
 * in the heap was not too late. A left cell does not look past its open neighbours on its lane: what lies behind a neighbour
 * is nearer to the neighbour, which satisfies the rule with it too (see `Terms`). So a right cell is the nearest one of at
 * most two left cells per lane, and a crowd of left records around one right record is not searched again for each pair.
 *
 * Time: per row about (lanes within the date window) × log(cells), whatever the skew. Memory: some 100 bytes per row.
 *
 * @returns how many pairs were held against the rule.
 */
export function pairNearestFirst(
  sides: { left: Side; right: Side },
  rows: { left: Int32Array; right: Int32Array },
  terms: Terms,
  take: (leftRow: number, rightRow: number) => void,
  pace: Pace,
): number {
  const search = new NearestSearch(sides, rows, terms, pace);
  for (let pair = search.next(); pair !== undefined; pair = search.next()) take(pair.left, pair.right);
  return search.candidates;
}

class NearestSearch {
  candidates = 0;
  readonly #terms: Terms;
  readonly #pace: Pace;
  readonly #left: Cells;
  readonly #right: Cells;
  readonly #rightCells: OpenSlots;
  readonly #rightLanes: OpenSlots;
  readonly #openInRightLane: Int32Array;
  /** Open neighbours of each left cell on its lane, NOTHING at the ends. */
  readonly #below: Int32Array;
  readonly #above: Int32Array;
  /** Per left cell: its nearest right cell, that cell's first row when it was looked at, and how far that is. */
  readonly #nearest: Int32Array;
  readonly #nearestRow: Int32Array;
  readonly #difference: bigint[];
  readonly #days: Int32Array;
  readonly #heap: IndexedHeap;
  readonly #order: { left: { byId: Int32Array; byRow: Int32Array }; right: { byId: Int32Array; byRow: Int32Array } };

  constructor(
    sides: { left: Side; right: Side },
    rows: { left: Int32Array; right: Int32Array },
    terms: Terms,
    pace: Pace,
  ) {
    this.#terms = terms;
    this.#pace = pace;
    this.#order = { left: sides.left.order(), right: sides.right.order() };
    this.#left = cellsOf(sides.left, rows.left);
    this.#right = cellsOf(sides.right, rows.right);
    this.#rightCells = new OpenSlots(this.#right.count);
    this.#rightLanes = new OpenSlots(this.#right.lanes.count);
    this.#openInRightLane = this.#right.lanes.start
      .slice(1)
      .map((end, lane) => end - (this.#right.lanes.start[lane] as number));
    const { lane } = this.#left;
    this.#below = lane.map((own, cell) => (lane[cell - 1] === own ? cell - 1 : NOTHING));
    this.#above = lane.map((own, cell) => (lane[cell + 1] === own ? cell + 1 : NOTHING));
    this.#nearest = new Int32Array(this.#left.count).fill(NOTHING);
    this.#nearestRow = new Int32Array(this.#left.count);
    this.#difference = new Array<bigint>(this.#left.count).fill(0n);
    this.#days = new Int32Array(this.#left.count);
    this.#heap = new IndexedHeap(this.#left.count, (a, b) => this.#isNearer(a, b));
    for (let cell = 0; cell < this.#left.count; cell++) this.#place(cell);
  }

  /** Takes the nearest open pair of all; undefined when no two open rows satisfy the rule. */
  next(): { left: number; right: number } | undefined {
    for (let cell = this.#heap.first; cell !== NOTHING; cell = this.#heap.first) {
      const partner = this.#nearest[cell] as number;
      if (firstRow(this.#right, partner) !== this.#nearestRow[cell]) {
        this.#place(cell);
        continue;
      }
      const left = firstRow(this.#left, cell);
      const right = this.#nearestRow[cell] as number;
      if (drop(this.#right, partner)) this.#closeRight(partner);
      if (drop(this.#left, cell)) this.#closeLeft(cell);
      else this.#place(cell);
      return { left, right };
    }
    return undefined;
  }

  /** Looks for a left cell's nearest partner and puts the cell where that belongs in the heap. */
  #place(cell: number): void {
    this.#pace.step();
    this.#find(cell);
    if (this.#nearest[cell] === NOTHING) this.#heap.remove(cell);
    else this.#heap.update(cell);
  }

  #closeRight(cell: number): void {
    this.#rightCells.close(cell);
    const lane = this.#right.lane[cell] as number;
    const open = (this.#openInRightLane[lane] as number) - 1;
    this.#openInRightLane[lane] = open;
    if (open === 0) this.#rightLanes.close(lane);
  }

  #closeLeft(cell: number): void {
    this.#heap.remove(cell);
    const below = this.#below[cell] as number;
    const above = this.#above[cell] as number;
    if (below !== NOTHING) this.#above[below] = above;
    if (above !== NOTHING) this.#below[above] = below;
    // Both see farther now.
    if (below !== NOTHING) this.#place(below);
    if (above !== NOTHING) this.#place(above);
  }

  /** Walks the right lanes outwards from the cell's day, as long as a lane can hold something nearer. */
  #find(cell: number): void {
    this.#nearest[cell] = NOTHING;
    const { later, earlier } = this.#terms.days;
    const lanes = this.#right.lanes;
    const day = this.#left.lanes.day[this.#left.lane[cell] as number] as number;
    let up = this.#rightLanes.atOrAbove(firstLaneFrom(this.#right, day + later.from));
    let down = this.#rightLanes.atOrBelow(firstLaneFrom(this.#right, day - earlier.from + 1) - 1);
    for (;;) {
      const daysUp = up < lanes.count ? (lanes.day[up] as number) - day : Number.POSITIVE_INFINITY;
      const daysDown = down > NOTHING ? day - (lanes.day[down] as number) : Number.POSITIVE_INFINITY;
      const mayGoUp = up < lanes.count && daysUp <= later.to;
      const mayGoDown = down > NOTHING && daysDown <= earlier.to;
      if (!mayGoUp && !mayGoDown) return;
      const goUp = mayGoUp && (!mayGoDown || daysUp <= daysDown);
      const days = goUp ? daysUp : daysDown;
      const settled = this.#nearest[cell] !== NOTHING && this.#difference[cell] === 0n;
      if (settled && days > (this.#days[cell] as number)) return;
      this.#findOnLane(cell, goUp ? up : down, days);
      if (goUp) up = this.#rightLanes.atOrAbove(up + 1);
      else down = this.#rightLanes.atOrBelow(down - 1);
    }
  }

  /** Considers the nearest open right cell on either side of the left cell's amount. */
  #findOnLane(cell: number, lane: number, days: number): void {
    const sameCurrency =
      this.#right.lanes.currency[lane] === this.#left.lanes.currency[this.#left.lane[cell] as number];
    const least = leastAmountPartOf(this.#terms, days, sameCurrency);
    if (least > WHOLE) return;
    const place = firstCellFrom(this.#right, lane, this.#left.amount[cell] as bigint);
    const above = this.#rightCells.atOrAbove(place);
    if (above < (this.#right.lanes.start[lane + 1] as number)) {
      const neighbour = this.#above[cell] as number;
      const hidden =
        neighbour !== NOTHING && (this.#left.amount[neighbour] as bigint) <= (this.#right.amount[above] as bigint);
      if (!hidden) this.#consider(cell, above, days, least);
    }
    const below = this.#rightCells.atOrBelow(place - 1);
    if (below >= (this.#right.lanes.start[lane] as number)) {
      const neighbour = this.#below[cell] as number;
      const hidden =
        neighbour !== NOTHING && (this.#left.amount[neighbour] as bigint) >= (this.#right.amount[below] as bigint);
      if (!hidden) this.#consider(cell, below, days, least);
    }
  }

  #consider(cell: number, partner: number, days: number, least: number): void {
    this.candidates++;
    const left = this.#left.amount[cell] as bigint;
    const right = this.#right.amount[partner] as bigint;
    const difference = left > right ? left - right : right - left;
    const row = firstRow(this.#right, partner);
    if (this.#nearest[cell] !== NOTHING) {
      const best = this.#difference[cell] as bigint;
      if (difference > best) return;
      if (difference === best) {
        const bestDays = this.#days[cell] as number;
        if (days > bestDays) return;
        if (days === bestDays && !isBefore(this.#order.right, row, this.#nearestRow[cell] as number)) return;
      }
    }
    if (!amountPartReaches(left, right, least)) return;
    if (!this.#terms.amountsAgree(firstRow(this.#left, cell), row)) return;
    this.#nearest[cell] = partner;
    this.#nearestRow[cell] = row;
    this.#difference[cell] = difference;
    this.#days[cell] = days;
  }

  /** Whether the nearest pair of one left cell comes before that of another. */
  #isNearer(a: number, b: number): boolean {
    const differenceA = this.#difference[a] as bigint;
    const differenceB = this.#difference[b] as bigint;
    if (differenceA !== differenceB) return differenceA < differenceB;
    const daysA = this.#days[a] as number;
    const daysB = this.#days[b] as number;
    if (daysA !== daysB) return daysA < daysB;
    const { left, right } = this.#order;
    const leftA = firstRow(this.#left, a);
    const leftB = firstRow(this.#left, b);
    if (left.byId[leftA] !== left.byId[leftB]) return (left.byId[leftA] as number) < (left.byId[leftB] as number);
    const rightA = this.#nearestRow[a] as number;
    const rightB = this.#nearestRow[b] as number;
    if (right.byId[rightA] !== right.byId[rightB]) {
      return (right.byId[rightA] as number) < (right.byId[rightB] as number);
    }
    return (left.byRow[leftA] as number) < (left.byRow[leftB] as number);
  }
}

function isBefore(order: { byRow: Int32Array }, a: number, b: number): boolean {
  return (order.byRow[a] as number) < (order.byRow[b] as number);
}

/** The first open row of a cell; NOTHING when the cell is empty. */
function firstRow(cells: Cells, cell: number): number {
  const head = cells.head[cell] as number;
  return head < (cells.end[cell] as number) ? (cells.rows[head] as number) : NOTHING;
}

/** Takes the first row out of a cell; says whether the cell is empty now. */
function drop(cells: Cells, cell: number): boolean {
  const head = (cells.head[cell] as number) + 1;
  cells.head[cell] = head;
  return head === cells.end[cell];
}
