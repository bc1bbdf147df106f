import { type Cells, firstAtLeast, firstRow } from './cells.ts';
import { amountPartReaches, WHOLE } from './confidence.ts';
import { type Levels, levelsOf } from './levels.ts';
import { OpenSlots } from './open-slots.ts';
import type { RowOrder } from './side.ts';
import { leastAmountPartOf, type Terms } from './terms.ts';

/** Up to so many lanes in the date window, walking them is always quick. */
const FEW_LANES = 16;

/** What bounds a search: amounts at or beyond these places are nearer to another open left cell of the same lane. */
export interface Bounds {
  readonly below: number;
  readonly above: number;
}

/**
 * Finds the nearest open right cell of a left cell: of those that satisfy the rule, the one with the smallest amount difference,
 * then the fewest days, then the first row in the right side's order.
 *
 * Two ways lead there. Along the lanes: every day of the date window, on each the next amount up and down; as dear as the window
 * is wide. Along the levels: every amount from the left cell's own outwards, on each the next day later and earlier, up to
 * the first that satisfies; as dear as there are amounts on the way without a fitting day. A wide window is tried along
 * the levels first, for as many steps as it has lanes, so that the search never costs more than twice the cheaper way.
 */
export class PartnerSearch {
  /** Pairs of cells held against the rule so far. */
  candidates = 0;

  /** What the last search found: right cell (-1: none), its first row, amount difference in 10^-8, UTC days. */
  partner = -1;
  row = -1;
  difference = 0n;
  days = 0;

  readonly #left: Cells;
  readonly #right: Cells;
  readonly #terms: Terms;
  readonly #order: RowOrder;
  readonly #openCells: OpenSlots;
  readonly #openLanes: OpenSlots;
  readonly #openInLane: Int32Array;
  readonly #levels: Levels;
  readonly #openOnLevels: OpenSlots;
  readonly #fewestDays: number;

  constructor(left: Cells, right: Cells, terms: Terms, rightOrder: RowOrder) {
    this.#left = left;
    this.#right = right;
    this.#terms = terms;
    this.#order = rightOrder;
    const { start, count } = right.lanes;
    this.#openCells = new OpenSlots(right.count);
    this.#openLanes = new OpenSlots(count);
    this.#openInLane = start.slice(1).map((end, lane) => end - (start[lane] as number));
    this.#levels = levelsOf(right);
    this.#openOnLevels = new OpenSlots(right.count);
    const { earlier, later } = terms.days;
    this.#fewestDays = later.from <= later.to ? later.from : earlier.from;
  }

  /** Takes an emptied right cell out of all further searches. */
  close(cell: number): void {
    this.#openCells.close(cell);
    this.#openOnLevels.close(this.#levels.placeOf[cell] as number);
    const lane = this.#right.lane[cell] as number;
    const open = (this.#openInLane[lane] as number) - 1;
    this.#openInLane[lane] = open;
    if (open === 0) this.#openLanes.close(lane);
  }

  /** Searches for a left cell's partner; `partner`, `row`, `difference` and `days` have the result. */
  find(cell: number, bounds: Bounds): void {
    this.partner = -1;
    const lanes = this.#lanesInWindow(cell);
    if (lanes > FEW_LANES && this.#alongLevels(cell, bounds, lanes)) return;
    this.#alongLanes(cell, bounds);
  }

  #dayOf(cell: number): number {
    return this.#left.lanes.day[this.#left.lane[cell] as number] as number;
  }

  #firstLaneFrom(day: number): number {
    return firstAtLeast(this.#right.lanes.day, day, 0, this.#right.lanes.count);
  }

  #lanesInWindow(cell: number): number {
    const { later, earlier } = this.#terms.days;
    const day = this.#dayOf(cell);
    const after = this.#firstLaneFrom(day + later.to + 1) - this.#firstLaneFrom(day + later.from);
    const before = this.#firstLaneFrom(day - earlier.from + 1) - this.#firstLaneFrom(day - earlier.to);
    return Math.max(after, 0) + Math.max(before, 0);
  }

  /** Walks the lanes outwards from the cell's day, as long as a lane can hold something nearer. */
  #alongLanes(cell: number, bounds: Bounds): void {
    const { later, earlier } = this.#terms.days;
    const lanes = this.#right.lanes;
    const day = this.#dayOf(cell);
    let up = this.#openLanes.atOrAbove(this.#firstLaneFrom(day + later.from));
    let down = this.#openLanes.atOrBelow(this.#firstLaneFrom(day - earlier.from + 1) - 1);
    for (;;) {
      const daysUp = up < lanes.count ? (lanes.day[up] as number) - day : 0;
      const daysDown = down >= 0 ? day - (lanes.day[down] as number) : 0;
      const mayGoUp = up < lanes.count && daysUp <= later.to;
      const mayGoDown = down >= 0 && daysDown <= earlier.to;
      if (!mayGoUp && !mayGoDown) return;
      const goUp = mayGoUp && (!mayGoDown || daysUp <= daysDown);
      const days = goUp ? daysUp : daysDown;
      if (this.partner !== -1 && this.difference === 0n && days > this.days) return;
      this.#onLane(cell, goUp ? up : down, days, bounds);
      if (goUp) up = this.#openLanes.atOrAbove(up + 1);
      else down = this.#openLanes.atOrBelow(down - 1);
    }
  }

  /** Considers the nearest open cell of a lane on either side of the left cell's amount. */
  #onLane(cell: number, lane: number, days: number, bounds: Bounds): void {
    const { amountPlace, lanes } = this.#right;
    const start = lanes.start[lane] as number;
    const end = lanes.start[lane + 1] as number;
    const place = firstAtLeast(amountPlace, this.#left.amountPlace[cell] as number, start, end);
    const above = this.#openCells.atOrAbove(place);
    if (above < end && (amountPlace[above] as number) < bounds.above) this.#consider(cell, above, days);
    const below = this.#openCells.atOrBelow(place - 1);
    if (below >= start && (amountPlace[below] as number) > bounds.below) this.#consider(cell, below, days);
  }

  /** Walks the levels outwards from the cell's amount; says whether it got to the end within so many steps. */
  #alongLevels(cell: number, bounds: Bounds, steps: number): boolean {
    const { level, start, amountPlace, currencyStart } = this.#levels;
    const open = this.#openOnLevels;
    const own = this.#left.amountPlace[cell] as number;
    let stepsLeft = steps;
    for (let currency = 0; currency < currencyStart.length - 1; currency++) {
      const first = currencyStart[currency] as number;
      const end = currencyStart[currency + 1] as number;
      const middle = firstAtLeast(amountPlace, own, first, end);
      let up = open.atOrAbove(start[middle] as number);
      while (up < (start[end] as number)) {
        const at = level[up] as number;
        if ((amountPlace[at] as number) >= bounds.above || !this.#onLevel(cell, at, up)) break;
        if (--stepsLeft < 0) return false;
        up = open.atOrAbove(start[at + 1] as number);
      }
      let down = open.atOrBelow((start[middle] as number) - 1);
      while (down >= (start[first] as number)) {
        const at = level[down] as number;
        if ((amountPlace[at] as number) <= bounds.below || !this.#onLevel(cell, at, down)) break;
        if (--stepsLeft < 0) return false;
        down = open.atOrBelow((start[at] as number) - 1);
      }
    }
    return true;
  }

  /**
   * Considers the nearest open cell of a level on either side of the left cell's day.
   *
   * @param place of any open cell on the level.
   * @returns whether a level farther away can hold something as near, or anything that satisfies the rule.
   */
  #onLevel(cell: number, level: number, place: number): boolean {
    const { cells, day, start } = this.#levels;
    const sample = cells[place] as number;
    if (this.partner !== -1 && this.#differenceTo(cell, sample) > this.difference) return false;
    if (!this.#satisfies(cell, sample, this.#fewestDays)) return false;
    const { later, earlier } = this.#terms.days;
    const own = this.#dayOf(cell);
    const from = start[level] as number;
    const end = start[level + 1] as number;
    const after = this.#openOnLevels.atOrAbove(firstAtLeast(day, own + later.from, from, end));
    if (after < end && (day[after] as number) - own <= later.to) {
      this.#consider(cell, cells[after] as number, (day[after] as number) - own);
    }
    const before = this.#openOnLevels.atOrBelow(firstAtLeast(day, own - earlier.from + 1, from, end) - 1);
    if (before >= from && own - (day[before] as number) <= earlier.to) {
      this.#consider(cell, cells[before] as number, own - (day[before] as number));
    }
    return true;
  }

  #consider(cell: number, partner: number, days: number): void {
    this.candidates++;
    const difference = this.#differenceTo(cell, partner);
    const row = firstRow(this.#right, partner);
    if (this.partner !== -1) {
      if (difference > this.difference) return;
      if (difference === this.difference) {
        if (days > this.days) return;
        if (days === this.days && (this.#order.byRow[row] as number) >= (this.#order.byRow[this.row] as number)) return;
      }
    }
    if (!this.#satisfies(cell, partner, days)) return;
    this.partner = partner;
    this.row = row;
    this.difference = difference;
    this.days = days;
  }

  #differenceTo(cell: number, partner: number): bigint {
    const left = this.#left.amount[cell] as bigint;
    const right = this.#right.amount[partner] as bigint;
    return left > right ? left - right : right - left;
  }

  /** Whether the amounts of two open cells would satisfy the rule if they were so many days apart. */
  #satisfies(cell: number, partner: number, days: number): boolean {
    const left = this.#left;
    const right = this.#right;
    const sameCurrency =
      left.lanes.currency[left.lane[cell] as number] === right.lanes.currency[right.lane[partner] as number];
    const least = leastAmountPartOf(this.#terms, days, sameCurrency);
    return (
      least <= WHOLE &&
      amountPartReaches(left.amount[cell] as bigint, right.amount[partner] as bigint, least) &&
      this.#terms.amountsAgree(firstRow(left, cell), firstRow(right, partner))
    );
  }
}
