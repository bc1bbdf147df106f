import { Difference } from './amounts.ts';
import { type Cells, cellsOf, firstAmountFrom, firstAtLeast } from './cells.ts';
import type { Forbidden } from './forbidden.ts';
import { IndexedHeap } from './heap.ts';
import type { PartitionedRows } from './nearest.ts';
import type { Pace } from './pace.ts';
import type { Side } from './side.ts';
import { laneRows, lineOf, sortedRows } from './sorted-rows.ts';
import { satisfies, similarityOf, type Terms } from './terms.ts';

/**
 * So many right rows within amount and date are held against one left row. A left row with more is left out of the rule and
 * reported: which rows those are depends on the records only, not on their order.
 */
export const MOST_CANDIDATES = 1000;

const NOTHING = -1;

/**
 * Pairs rows like `pairNearestFirst`, for rules with a condition that only a look at both rows can decide (a similar text, base
 * amounts that agree): each left row is held against every right row within amount and date. Of equally near pairs
 * the more similar one goes first.
 *
 * @param limited called with each left row that has more than `MOST_CANDIDATES`.
 * @returns how many pairs were held against the rule.
 */
export function pairOneByOne(
  sides: { left: Side; right: Side },
  rows: { left: PartitionedRows; right: PartitionedRows },
  terms: Terms,
  forbidden: Forbidden,
  take: (leftRow: number, rightRow: number) => void,
  limited: (leftRow: number) => void,
  pace: Pace,
): number {
  const line = lineOf([
    { side: sides.left, rows: rows.left.rows },
    { side: sides.right, rows: rows.right.rows },
  ]);
  const cells = (side: Side, own: PartitionedRows) =>
    cellsOf(sortedRows(laneRows(side, own, line, terms.oneCurrency)), side.order);
  const pairing = new RowPairing(
    cells(sides.left, rows.left),
    cells(sides.right, rows.right),
    sides,
    terms,
    forbidden,
    line.span,
    pace,
  );
  pairing.takeAll(take, limited);
  return pairing.candidates;
}

class RowPairing {
  candidates = 0;
  readonly #left: Cells;
  readonly #right: Cells;
  readonly #sides: { left: Side; right: Side };
  readonly #terms: Terms;
  readonly #forbidden: Forbidden;
  readonly #span: number;
  readonly #pace: Pace;
  readonly #taken: Uint8Array;
  /** By place in the left cells' rows: the cell, and the nearest right row and how near it is. */
  readonly #cellOf: Int32Array;
  readonly #nearest: Int32Array;
  readonly #high: Float64Array;
  readonly #low: Float64Array;
  readonly #days: Int32Array;
  readonly #similarity: Int32Array;
  readonly #heap: IndexedHeap;
  readonly #measured = new Difference();
  #lookedAt = 0;

  constructor(
    left: Cells,
    right: Cells,
    sides: { left: Side; right: Side },
    terms: Terms,
    forbidden: Forbidden,
    span: number,
    pace: Pace,
  ) {
    this.#left = left;
    this.#right = right;
    this.#sides = sides;
    this.#terms = terms;
    this.#forbidden = forbidden;
    this.#span = span;
    this.#pace = pace;
    const size = left.rows.length;
    this.#taken = new Uint8Array(sides.right.size);
    this.#cellOf = new Int32Array(size);
    for (let cell = 0; cell < left.count; cell++) this.#cellOf.fill(cell, left.head[cell], left.end[cell]);
    this.#nearest = new Int32Array(size);
    this.#high = new Float64Array(size);
    this.#low = new Float64Array(size);
    this.#days = new Int32Array(size);
    this.#similarity = new Int32Array(size);
    this.#heap = new IndexedHeap(size, (a, b) => this.#isNearer(a, b));
  }

  takeAll(take: (leftRow: number, rightRow: number) => void, limited: (leftRow: number) => void): void {
    for (let place = 0; place < this.#left.rows.length; place++) {
      this.#search(place);
      if (this.#lookedAt > MOST_CANDIDATES) limited(this.#left.rows[place] as number);
      else if (this.#nearest[place] !== NOTHING) this.#heap.update(place);
    }
    for (let place = this.#heap.first; place !== NOTHING; place = this.#heap.first) {
      const partner = this.#nearest[place] as number;
      if (this.#taken[partner] === 1) {
        this.#search(place);
        if (this.#nearest[place] === NOTHING) this.#heap.remove(place);
        else this.#heap.update(place);
        continue;
      }
      this.#heap.remove(place);
      this.#taken[partner] = 1;
      take(this.#left.rows[place] as number, partner);
    }
  }

  #search(place: number): void {
    const { days } = this.#terms;
    const lane = this.#left.lane[this.#cellOf[place] as number] as number;
    const line = this.#left.lanes.line[lane] as number;
    const first = Math.floor(line / this.#span) * this.#span;
    this.#nearest[place] = NOTHING;
    this.#lookedAt = 0;
    this.#between(place, line + days.later.from, Math.min(line + days.later.to, first + this.#span - 1));
    this.#between(place, Math.max(line - days.earlier.to, first), line - days.earlier.from);
  }

  /** Looks at all lanes of days on the line, on each at the amounts from the left row's own outwards that agree with it. */
  #between(place: number, from: number, to: number): void {
    const cell = this.#cellOf[place] as number;
    const { lanes, high, low } = this.#right;
    const [ownHigh, ownLow] = [this.#left.high[cell] as number, this.#left.low[cell] as number];
    const agrees = (partner: number) =>
      this.#terms.amountsAgree(ownHigh, ownLow, high[partner] as number, low[partner] as number);
    for (
      let lane = firstAtLeast(lanes.line, from, 0, lanes.count);
      lane < lanes.count && (lanes.line[lane] as number) <= to;
      lane++
    ) {
      const [start, end] = [lanes.start[lane] as number, lanes.start[lane + 1] as number];
      const middle = firstAmountFrom(this.#right, ownHigh, ownLow, start, end);
      for (let up = middle; up < end && agrees(up); up++) if (!this.#lookAt(place, up)) return;
      for (let down = middle - 1; down >= start && agrees(down); down--) if (!this.#lookAt(place, down)) return;
    }
  }

  /** Looks at the open rows of a right cell; says whether to go on. */
  #lookAt(place: number, partner: number): boolean {
    const { head, end, rows } = this.#right;
    for (let i = head[partner] as number; i < (end[partner] as number); i++) {
      const row = rows[i] as number;
      if (this.#taken[row] === 1) continue;
      this.#pace.step();
      if (++this.#lookedAt > MOST_CANDIDATES) return false;
      this.#consider(place, partner, row);
    }
    return true;
  }

  #consider(place: number, partner: number, row: number): void {
    this.candidates++;
    const cell = this.#cellOf[place] as number;
    const { left, right } = this.#sides;
    const leftRow = this.#left.rows[place] as number;
    if (this.#forbidden.has(leftRow, row)) return;
    this.#measured.measure(
      this.#left.high[cell] as number,
      this.#left.low[cell] as number,
      this.#right.high[partner] as number,
      this.#right.low[partner] as number,
    );
    const days = Math.abs((right.day[row] as number) - (left.day[leftRow] as number));
    const { high, low } = this.#measured;
    const found = this.#nearest[place] as number;
    const by =
      found === NOTHING
        ? -1
        : high - (this.#high[place] as number) ||
          low - (this.#low[place] as number) ||
          days - (this.#days[place] as number);
    if (by > 0) return;
    const similarity = similarityOf(this.#terms, leftRow, row);
    if (similarity === undefined) return;
    if (by === 0) {
      const { byRow } = right.order;
      const further =
        (this.#similarity[place] as number) - similarity || (byRow[row] as number) - (byRow[found] as number);
      if (further > 0) return;
    }
    if (!satisfies(this.#terms, left, right, leftRow, row)) return;
    this.#nearest[place] = row;
    this.#high[place] = high;
    this.#low[place] = low;
    this.#days[place] = days;
    this.#similarity[place] = similarity;
  }

  #isNearer(a: number, b: number): boolean {
    const [leftOrder, rightOrder] = [this.#sides.left.order, this.#sides.right.order];
    const [leftA, leftB] = [this.#left.rows[a] as number, this.#left.rows[b] as number];
    const [rightA, rightB] = [this.#nearest[a] as number, this.#nearest[b] as number];
    const by =
      (this.#high[a] as number) - (this.#high[b] as number) ||
      (this.#low[a] as number) - (this.#low[b] as number) ||
      (this.#days[a] as number) - (this.#days[b] as number) ||
      (this.#similarity[b] as number) - (this.#similarity[a] as number) ||
      (leftOrder.byId[leftA] as number) - (leftOrder.byId[leftB] as number) ||
      (rightOrder.byId[rightA] as number) - (rightOrder.byId[rightB] as number) ||
      (leftOrder.byRow[leftA] as number) - (leftOrder.byRow[leftB] as number);
    return by < 0;
  }
}
