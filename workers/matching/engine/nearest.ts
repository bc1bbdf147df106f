import { type Cells, cellsOf, dropFirst, firstRow } from './cells.ts';
import { IndexedHeap } from './heap.ts';
import type { Pace } from './pace.ts';
import { PartnerSearch } from './partner-search.ts';
import type { RowOrder, Side } from './side.ts';
import type { Terms } from './terms.ts';

const NOTHING = -1;

/**
 * Pairs the rows of one partition, nearest first: of all open pairs that satisfy the rule, always the one with the
 * smallest amount difference, then the fewest days, then the smaller left and the smaller right `externalId`, until
 * there is none. The order is total, so the answer is unique and does not depend on the order of the rows.
 *
 * Each open left cell knows its nearest open right cell; a heap holds the left cells by that. A right cell that is gone is
 * noticed when its left cell comes to the top: what was taken away can only have made that cell's nearest one farther, so it
 * did not come too late. A left cell does not look past its open neighbours on its lane: what lies at or behind a neighbour is
 * nearer to the neighbour, and satisfies the rule with it too (see `Terms`). So a right cell is the nearest one of at
 * most two left cells per lane, and a crowd of left records around one right record is not searched again for each pair.
 *
 * Memory: some 100 bytes per row of the partition.
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
  const pairing = new Pairing(sides, rows, terms, pace);
  while (pairing.takeNearest(take));
  return pairing.candidates;
}

class Pairing {
  readonly #pace: Pace;
  readonly #left: Cells;
  readonly #right: Cells;
  readonly #leftOrder: RowOrder;
  readonly #rightOrder: RowOrder;
  readonly #search: PartnerSearch;
  /** Open neighbours of each left cell on its lane, NOTHING at the ends. */
  readonly #below: Int32Array;
  readonly #above: Int32Array;
  /** Per left cell: its nearest right cell, that cell's first row when it was found, and how far that is. */
  readonly #nearest: Int32Array;
  readonly #nearestRow: Int32Array;
  readonly #difference: bigint[];
  readonly #days: Int32Array;
  readonly #heap: IndexedHeap;

  constructor(
    sides: { left: Side; right: Side },
    rows: { left: Int32Array; right: Int32Array },
    terms: Terms,
    pace: Pace,
  ) {
    this.#pace = pace;
    this.#leftOrder = sides.left.order();
    this.#rightOrder = sides.right.order();
    this.#left = cellsOf(sides.left, rows.left);
    this.#right = cellsOf(sides.right, rows.right);
    this.#search = new PartnerSearch(this.#left, this.#right, terms, this.#rightOrder);
    const { lane, count } = this.#left;
    this.#below = lane.map((own, cell) => (lane[cell - 1] === own ? cell - 1 : NOTHING));
    this.#above = lane.map((own, cell) => (lane[cell + 1] === own ? cell + 1 : NOTHING));
    this.#nearest = new Int32Array(count);
    this.#nearestRow = new Int32Array(count);
    this.#difference = new Array<bigint>(count).fill(0n);
    this.#days = new Int32Array(count);
    this.#heap = new IndexedHeap(count, (a, b) => this.#isNearer(a, b));
    for (let cell = 0; cell < count; cell++) this.#place(cell);
  }

  get candidates(): number {
    return this.#search.candidates;
  }

  /** Takes the nearest open pair of all; false when no two open rows satisfy the rule. */
  takeNearest(take: (leftRow: number, rightRow: number) => void): boolean {
    for (let cell = this.#heap.first; cell !== NOTHING; cell = this.#heap.first) {
      const partner = this.#nearest[cell] as number;
      if (firstRow(this.#right, partner) !== this.#nearestRow[cell]) {
        this.#place(cell);
        continue;
      }
      take(firstRow(this.#left, cell), this.#nearestRow[cell] as number);
      if (dropFirst(this.#right, partner)) this.#search.close(partner);
      if (dropFirst(this.#left, cell)) this.#close(cell);
      else this.#place(cell);
      return true;
    }
    return false;
  }

  /** Finds a left cell's nearest partner and puts the cell where that belongs in the heap. */
  #place(cell: number): void {
    this.#pace.step();
    const below = this.#below[cell] as number;
    const above = this.#above[cell] as number;
    const { amountPlace } = this.#left;
    this.#search.find(cell, {
      below: below === NOTHING ? Number.NEGATIVE_INFINITY : (amountPlace[below] as number),
      above: above === NOTHING ? Number.POSITIVE_INFINITY : (amountPlace[above] as number),
    });
    if (this.#search.partner === NOTHING) {
      this.#heap.remove(cell);
      return;
    }
    this.#nearest[cell] = this.#search.partner;
    this.#nearestRow[cell] = this.#search.row;
    this.#difference[cell] = this.#search.difference;
    this.#days[cell] = this.#search.days;
    this.#heap.update(cell);
  }

  /** Takes an emptied left cell out; its neighbours see farther now. */
  #close(cell: number): void {
    this.#heap.remove(cell);
    const below = this.#below[cell] as number;
    const above = this.#above[cell] as number;
    if (below !== NOTHING) this.#above[below] = above;
    if (above !== NOTHING) this.#below[above] = below;
    if (below !== NOTHING) this.#place(below);
    if (above !== NOTHING) this.#place(above);
  }

  /** Whether the nearest pair of one left cell comes before that of another. */
  #isNearer(a: number, b: number): boolean {
    const differenceA = this.#difference[a] as bigint;
    const differenceB = this.#difference[b] as bigint;
    if (differenceA !== differenceB) return differenceA < differenceB;
    const leftA = firstRow(this.#left, a);
    const leftB = firstRow(this.#left, b);
    const rightA = this.#nearestRow[a] as number;
    const rightB = this.#nearestRow[b] as number;
    const by =
      (this.#days[a] as number) - (this.#days[b] as number) ||
      (this.#leftOrder.byId[leftA] as number) - (this.#leftOrder.byId[leftB] as number) ||
      (this.#rightOrder.byId[rightA] as number) - (this.#rightOrder.byId[rightB] as number) ||
      (this.#leftOrder.byRow[leftA] as number) - (this.#leftOrder.byRow[leftB] as number);
    return by < 0;
  }
}
