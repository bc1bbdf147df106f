import type { OpenSide } from './open-side.ts';

export type SideName = 'left' | 'right';

/** Numbers by row of each side; negative: the row is passed over. */
export type Wanted = Readonly<Record<SideName, Int32Array>>;

/** Walks rows of both sides in the order of their transactions' ids, the order in which a primary key is cheapest to fill. */
export class MergedRows {
  side: SideName = 'left';
  row = -1;
  /** What the row's number is. */
  value = -1;
  readonly #left: Walk;
  readonly #right: Walk;

  constructor(left: OpenSide, right: OpenSide, wanted: Wanted) {
    this.#left = new Walk(left, wanted.left);
    this.#right = new Walk(right, wanted.right);
  }

  /** Goes to the next row. @returns false when there is none. */
  next(): boolean {
    const [left, right] = [this.#left, this.#right];
    if (left.row < 0 && right.row < 0) return false;
    const leftFirst =
      right.row < 0 ||
      (left.row >= 0 && (left.high < right.high || (left.high === right.high && left.low < right.low)));
    const walk = leftFirst ? left : right;
    this.side = leftFirst ? 'left' : 'right';
    this.row = walk.row;
    this.value = walk.value;
    walk.step();
    return true;
  }
}

/** The wanted rows of one side, by id. */
class Walk {
  /** -1 at the end. */
  row = -1;
  value = -1;
  high = 0;
  low = 0;
  #at = 0;
  readonly #side: OpenSide;
  readonly #wanted: Int32Array;

  constructor(side: OpenSide, wanted: Int32Array) {
    this.#side = side;
    this.#wanted = wanted;
    this.step();
  }

  step(): void {
    const { size, order, ids } = this.#side;
    this.row = -1;
    while (this.#at < size) {
      const row = order === undefined ? this.#at : (order[this.#at] as number);
      this.#at++;
      const value = this.#wanted[row] as number;
      if (value < 0) continue;
      this.row = row;
      this.value = value;
      this.high = ids.high[row] as number;
      this.low = ids.low[row] as number;
      return;
    }
  }
}
