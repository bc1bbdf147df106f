import { type Amounts, Difference } from './amounts.ts';
import { type Cells, firstAmountFrom, firstAtLeast, firstRow } from './cells.ts';
import { amountPartReaches, WHOLE } from './confidence.ts';
import { type Levels, levelsOf } from './levels.ts';
import { OpenSlots } from './open-slots.ts';
import type { RowOrder } from './row-order.ts';
import { leastAmountPartOf, type Terms } from './terms.ts';

/** Up to so many lanes in the date window, walking them is always quick. */
const FEW_LANES = 16;

const NOTHING = -1;

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

  /** What the last search found: right cell (-1: none), its first row, amount difference, UTC days. */
  partner = NOTHING;
  row = NOTHING;
  readonly difference = new Difference();
  days = 0;
  /** Whether it left out a cell that satisfies the rule, for being nearer to the left cell's neighbour below or above. */
  leftOutBelow = false;
  leftOutAbove = false;

  readonly #left: Cells;
  readonly #right: Cells;
  readonly #terms: Terms;
  readonly #of: Pick<Amounts, 'unit' | 'wide'>;
  readonly #order: RowOrder;
  readonly #span: number;
  readonly #openCells: OpenSlots;
  readonly #openLanes: OpenSlots;
  readonly #openInLane: Int32Array;
  #acrossDays: { levels: Levels; open: OpenSlots } | undefined;
  readonly #fewestDays: number;
  /** What is being considered. */
  readonly #measured = new Difference();
  #cell = 0;
  #line = 0;
  /** The ends of the date window on the line; they are within the partition. */
  #earliest = 0;
  #latest = 0;
  #below = NOTHING;
  #above = NOTHING;
  #forbidden: ReadonlySet<number> | undefined;

  constructor(
    left: Cells,
    right: Cells,
    terms: Terms,
    of: Pick<Amounts, 'unit' | 'wide'>,
    rightOrder: RowOrder,
    span: number,
  ) {
    this.#left = left;
    this.#right = right;
    this.#terms = terms;
    this.#of = of;
    this.#order = rightOrder;
    this.#span = span;
    const { start, count } = right.lanes;
    this.#openCells = new OpenSlots(right.count);
    this.#openLanes = new OpenSlots(count);
    this.#openInLane = start.slice(1).map((end, lane) => end - (start[lane] as number));
    const { earlier, later } = terms.days;
    this.#fewestDays = later.from <= later.to ? later.from : earlier.from;
  }

  /** Takes an emptied right cell out of all further searches. */
  close(cell: number): void {
    this.#openCells.close(cell);
    if (this.#acrossDays) this.#acrossDays.open.close(this.#acrossDays.levels.placeOf[cell] as number);
    const lane = this.#right.lane[cell] as number;
    const open = (this.#openInLane[lane] as number) - 1;
    this.#openInLane[lane] = open;
    if (open === 0) this.#openLanes.close(lane);
  }

  /**
   * Searches for a left cell's partner; `partner`, `row`, `difference` and `days` have the result.
   *
   * @param below the next open left cell on its lane, -1 at the end: amounts at or beyond it are nearer to that cell.
   * @param above likewise.
   * @param forbidden right rows that it must not find; then it looks along the lanes only.
   */
  find(cell: number, below: number, above: number, forbidden?: ReadonlySet<number>): void {
    this.partner = NOTHING;
    this.leftOutBelow = false;
    this.leftOutAbove = false;
    this.#cell = cell;
    this.#below = below;
    this.#above = above;
    this.#forbidden = forbidden;
    this.#line = this.#left.lanes.line[this.#left.lane[cell] as number] as number;
    const { later, earlier } = this.#terms.days;
    const partition = Math.floor(this.#line / this.#span) * this.#span;
    this.#earliest = Math.max(this.#line - earlier.to, partition);
    this.#latest = Math.min(this.#line + later.to, partition + this.#span - 1);
    const up = this.#openLanes.atOrAbove(this.#firstLaneFrom(this.#line + later.from));
    const down = this.#openLanes.atOrBelow(this.#firstLaneFrom(this.#line - earlier.from + 1) - 1);
    if (!forbidden && this.#lanesInWindowAreMany(up, down) && this.#alongLevels(this.#lanesInWindow())) return;
    this.#alongLanes(up, down);
  }

  #firstLaneFrom(line: number): number {
    return firstAtLeast(this.#right.lanes.line, line, 0, this.#right.lanes.count);
  }

  #lanesInWindowAreMany(up: number, down: number): boolean {
    const { line, count } = this.#right.lanes;
    const last = up + FEW_LANES / 2;
    const first = down - FEW_LANES / 2;
    return (
      (last < count && (line[last] as number) <= this.#latest) ||
      (first >= 0 && (line[first] as number) >= this.#earliest)
    );
  }

  #lanesInWindow(): number {
    const { later, earlier } = this.#terms.days;
    const after = this.#firstLaneFrom(this.#latest + 1) - this.#firstLaneFrom(this.#line + later.from);
    const before = this.#firstLaneFrom(this.#line - earlier.from + 1) - this.#firstLaneFrom(this.#earliest);
    return Math.max(after, 0) + Math.max(before, 0);
  }

  /** Walks the lanes outwards from the cell's day, as long as a lane can hold something nearer. */
  #alongLanes(firstUp: number, firstDown: number): void {
    const lanes = this.#right.lanes;
    const line = this.#line;
    const latest = this.#latest;
    const earliest = this.#earliest;
    let up = firstUp;
    let down = firstDown;
    for (;;) {
      const lineUp = up < lanes.count ? (lanes.line[up] as number) : Number.POSITIVE_INFINITY;
      const lineDown = down >= 0 ? (lanes.line[down] as number) : Number.NEGATIVE_INFINITY;
      const mayGoUp = lineUp <= latest;
      const mayGoDown = lineDown >= earliest;
      if (!mayGoUp && !mayGoDown) return;
      const goUp = mayGoUp && (!mayGoDown || lineUp - line <= line - lineDown);
      const days = goUp ? lineUp - line : line - lineDown;
      const found = this.difference;
      if (this.partner !== NOTHING && found.low === 0 && found.high === 0 && days > this.days) return;
      this.#onLane(goUp ? up : down, days);
      if (goUp) up = this.#openLanes.atOrAbove(up + 1);
      else down = this.#openLanes.atOrBelow(down - 1);
    }
  }

  /** Considers the nearest open cell of a lane on either side of the left cell's amount. */
  #onLane(lane: number, days: number): void {
    const { lanes } = this.#right;
    const start = lanes.start[lane] as number;
    const end = lanes.start[lane + 1] as number;
    const { high, low } = this.#left;
    const place = firstAmountFrom(this.#right, high[this.#cell] as number, low[this.#cell] as number, start, end);
    let above = this.#openCells.atOrAbove(place);
    while (above < end && !this.#consider(above, days)) above = this.#openCells.atOrAbove(above + 1);
    let below = this.#openCells.atOrBelow(place - 1);
    while (below >= start && !this.#consider(below, days)) below = this.#openCells.atOrBelow(below - 1);
  }

  /** Walks the levels outwards from the cell's amount; says whether it got to the end within so many steps. */
  #alongLevels(steps: number): boolean {
    const { levels, open } = this.#across();
    const { level, start, towerStart, towerPartition } = levels;
    const towers = towerPartition.length;
    const partition = Math.floor(this.#line / this.#span);
    let stepsLeft = steps;
    for (
      let tower = firstAtLeast(towerPartition, partition, 0, towers);
      tower < towers && towerPartition[tower] === partition;
      tower++
    ) {
      const first = towerStart[tower] as number;
      const end = towerStart[tower + 1] as number;
      const middle = this.#ownLevel(levels, first, end);
      let up = open.atOrAbove(start[middle] as number);
      while (up < (start[end] as number)) {
        const at = level[up] as number;
        if (!this.#onLevel(at, up)) break;
        if (--stepsLeft < 0) return false;
        up = open.atOrAbove(start[at + 1] as number);
      }
      let down = open.atOrBelow((start[middle] as number) - 1);
      while (down >= (start[first] as number)) {
        const at = level[down] as number;
        if (!this.#onLevel(at, down)) break;
        if (--stepsLeft < 0) return false;
        down = open.atOrBelow((start[at] as number) - 1);
      }
    }
    return true;
  }

  /** The levels, made when a search first needs them. */
  #across(): { levels: Levels; open: OpenSlots } {
    if (this.#acrossDays) return this.#acrossDays;
    const levels = levelsOf(this.#right, this.#span);
    const open = new OpenSlots(this.#right.count);
    for (let cell = 0; cell < this.#right.count; cell++) {
      if (firstRow(this.#right, cell) === NOTHING) open.close(levels.placeOf[cell] as number);
    }
    this.#acrossDays = { levels, open };
    return this.#acrossDays;
  }

  /** The first level from the left cell's amount up. */
  #ownLevel({ high, low }: Levels, from: number, to: number): number {
    const ownHigh = this.#left.high[this.#cell] as number;
    const ownLow = this.#left.low[this.#cell] as number;
    let least = from;
    let most = to;
    while (least < most) {
      const middle = (least + most) >>> 1;
      const h = high[middle] as number;
      if (h < ownHigh || (h === ownHigh && (low[middle] as number) < ownLow)) least = middle + 1;
      else most = middle;
    }
    return least;
  }

  /**
   * Considers the nearest open cell of a level on either side of the left cell's day.
   *
   * @param place of any open cell on the level.
   * @returns whether a level farther away can hold something as near, or anything that satisfies the rule.
   */
  #onLevel(level: number, place: number): boolean {
    const { levels, open } = this.#across();
    const { cells, line, start } = levels;
    const sample = cells[place] as number;
    this.#measure(sample);
    if (this.partner !== NOTHING && this.#byDifference() > 0) return false;
    if (!this.#satisfies(sample, this.#fewestDays)) return false;
    const { later, earlier } = this.#terms.days;
    const own = this.#line;
    const from = start[level] as number;
    const end = start[level + 1] as number;
    const after = open.atOrAbove(firstAtLeast(line, own + later.from, from, end));
    if (after < end && (line[after] as number) <= this.#latest) {
      this.#consider(cells[after] as number, (line[after] as number) - own);
    }
    const before = open.atOrBelow(firstAtLeast(line, own - earlier.from + 1, from, end) - 1);
    if (before >= from && (line[before] as number) >= this.#earliest) {
      this.#consider(cells[before] as number, own - (line[before] as number));
    }
    return this.#isWithinBounds(sample);
  }

  /** Considers a cell; false when all of its rows are forbidden, so that the one behind it is next. */
  #consider(partner: number, days: number): boolean {
    const row = firstRow(this.#right, partner, this.#forbidden);
    if (row === NOTHING) return false;
    this.candidates++;
    this.#measure(partner);
    if (this.partner !== NOTHING) {
      const by = this.#byDifference() || days - this.days;
      if (by > 0) return true;
      if (by === 0 && (this.#order.byRow[row] as number) >= (this.#order.byRow[this.row] as number)) return true;
    }
    if (!this.#satisfies(partner, days)) return true;
    if (!this.#isWithinBounds(partner)) return true;
    this.partner = partner;
    this.row = row;
    this.difference.high = this.#measured.high;
    this.difference.low = this.#measured.low;
    this.days = days;
    return true;
  }

  /** Whether a cell's amount is on this side of the neighbours'; notes on which side it isn't. */
  #isWithinBounds(partner: number): boolean {
    const { high: leftHigh, low: leftLow } = this.#left;
    const high = this.#right.high[partner] as number;
    const low = this.#right.low[partner] as number;
    if (this.#above !== NOTHING) {
      const h = leftHigh[this.#above] as number;
      if (high > h || (high === h && low >= (leftLow[this.#above] as number))) {
        this.leftOutAbove = true;
        return false;
      }
    }
    if (this.#below !== NOTHING) {
      const h = leftHigh[this.#below] as number;
      if (high < h || (high === h && low <= (leftLow[this.#below] as number))) {
        this.leftOutBelow = true;
        return false;
      }
    }
    return true;
  }

  #measure(partner: number): void {
    const { high, low } = this.#left;
    this.#measured.measure(
      high[this.#cell] as number,
      low[this.#cell] as number,
      this.#right.high[partner] as number,
      this.#right.low[partner] as number,
    );
  }

  /** Above 0 when what was measured is farther than what was found. */
  #byDifference(): number {
    return this.#measured.high - this.difference.high || this.#measured.low - this.difference.low;
  }

  /** Whether the amounts of the left and a right cell would satisfy the rule if they were so many days apart. */
  #satisfies(partner: number, days: number): boolean {
    const left = this.#left;
    const right = this.#right;
    const leftHigh = left.high[this.#cell] as number;
    const leftLow = left.low[this.#cell] as number;
    const rightHigh = right.high[partner] as number;
    const rightLow = right.low[partner] as number;
    if (!this.#terms.amountsAgree(leftHigh, leftLow, rightHigh, rightLow)) return false;
    const sameCurrency =
      this.#terms.oneCurrency ||
      left.lanes.currency[left.lane[this.#cell] as number] === right.lanes.currency[right.lane[partner] as number];
    const least = leastAmountPartOf(this.#terms, days, sameCurrency);
    return least <= WHOLE && amountPartReaches(this.#of, leftHigh, leftLow, rightHigh, rightLow, least);
  }
}
