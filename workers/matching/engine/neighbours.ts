import type { Key } from './keys.ts';
import { partition } from './partitions.ts';
import { radixSort, wordsOf } from './radix.ts';
import type { RowOrder } from './row-order.ts';
import type { Side } from './side.ts';

/** On either side of a row's own place. */
const MOST_EACH_WAY = 8;

/**
 * Visits, of each open row of a side, the rows of the other side that share its keys and come nearest in amount, then in days: at
 * most 8 at or after it and 8 before it in the order by amount, day and the other side's order. Rows of the other side that share no open
 * row's keys cost no more than a look at their keys.
 *
 * @param keys with the open rows' side on the left.
 * @param visit called with a place in `open` and a row of the other side.
 */
export function visitNeighbours(
  own: Side,
  open: Int32Array,
  other: Side,
  keys: readonly Key[],
  check: () => void,
  visit: (place: number, otherRow: number) => void,
): void {
  const { left, right } = partition(open, allRows(other), keys, check);
  const known = places(open.length, (place) => (left.partition[open[place] as number] as number) >= 0);
  const related = places(other.size, (row) => {
    const p = right.partition[row] as number;
    return p >= 0 && (left.count[p] as number) > 0;
  });
  check();
  const openRows = open.length === 0 ? open : known.map((place) => open[place] as number);
  const mine = sorted(own, openRows, left.partition);
  check();
  const theirs = sorted(other, related, right.partition);
  check();
  const inOrder = new TiesInOrder(theirs, other.order);
  const end = theirs.rows.length;
  let middle = 0;
  for (let i = 0; i < mine.rows.length; i++) {
    while (middle < end && compare(theirs, middle, mine, i) < 0) middle++;
    const place = known[mine.given[i] as number] as number;
    const p = mine.partition[i];
    inOrder.upFrom(middle, MOST_EACH_WAY);
    for (let at = middle; at < Math.min(end, middle + MOST_EACH_WAY) && theirs.partition[at] === p; at++) {
      visit(place, theirs.rows[at] as number);
    }
    inOrder.downFrom(middle - 1, MOST_EACH_WAY);
    for (let at = middle - 1; at >= Math.max(0, middle - MOST_EACH_WAY) && theirs.partition[at] === p; at--) {
      visit(place, theirs.rows[at] as number);
    }
  }
}

function allRows({ size }: Side): Int32Array {
  return places(size, () => true);
}

function places(size: number, isChosen: (place: number) => boolean): Int32Array {
  const chosen = new Int32Array(size);
  let count = 0;
  for (let place = 0; place < size; place++) if (isChosen(place)) chosen[count++] = place;
  return chosen.subarray(0, count);
}

/** Rows by partition, amount and day; columns along them. */
interface Sorted {
  readonly rows: Int32Array;
  /** Where each was among the rows that were given. */
  readonly given: Int32Array;
  readonly partition: Float64Array;
  readonly high: Float64Array;
  readonly low: Float64Array;
  readonly day: Float64Array;
}

function sorted({ amounts, day }: Side, rows: Int32Array, partitions: Int32Array): Sorted {
  const columns = {
    partition: gathered(partitions, rows),
    high: amounts.wide ? gathered(amounts.high, rows) : new Float64Array(rows.length),
    low: gathered(amounts.low, rows),
    day: gathered(day, rows),
  };
  const { partition, high, low } = columns;
  const words = [columns.day, low, ...(amounts.wide ? [high] : []), partition].flatMap((values) => wordsOf(values));
  const given = radixSort(words, rows.length);
  return {
    rows: given.map((place) => rows[place] as number),
    given,
    partition: gathered(partition, given),
    high: amounts.wide ? gathered(high, given) : high,
    low: gathered(low, given),
    day: gathered(columns.day, given),
  };
}

function gathered(values: Float64Array | Int32Array, places: Int32Array): Float64Array {
  const result = new Float64Array(places.length);
  for (let i = 0; i < places.length; i++) result[i] = values[places[i] as number] as number;
  return result;
}

function compare(a: Sorted, i: number, b: Sorted, j: number): number {
  return (
    (a.partition[i] as number) - (b.partition[j] as number) ||
    (a.high[i] as number) - (b.high[j] as number) ||
    (a.low[i] as number) - (b.low[j] as number) ||
    (a.day[i] as number) - (b.day[j] as number)
  );
}

/** Puts rows of the same partition, amount and day into their side's order, where only some of them are asked for. */
class TiesInOrder {
  readonly #sorted: Sorted;
  readonly #order: RowOrder;
  /** Per place: 1 where it begins or ends a run that is in order. */
  readonly #isInOrder: Uint8Array;

  constructor(sorted: Sorted, order: RowOrder) {
    this.#sorted = sorted;
    this.#order = order;
    this.#isInOrder = new Uint8Array(sorted.rows.length);
  }

  /** So many places from one on, which begins a run. */
  upFrom(first: number, count: number): void {
    const last = first + count - 1;
    if (!this.#isTie(last, last + 1)) return;
    let [from, to] = [last, last + 1];
    while (from > first && this.#isTie(from - 1, last)) from--;
    if (this.#isInOrder[from] === 1) return;
    while (this.#isTie(from, to)) to++;
    this.#put(from, to);
  }

  /** So many places from one down, which ends a run. */
  downFrom(last: number, count: number): void {
    const first = last - count + 1;
    if (!this.#isTie(first - 1, first)) return;
    let [from, to] = [first - 1, first + 1];
    while (to <= last && this.#isTie(first, to)) to++;
    if (this.#isInOrder[to - 1] === 1) return;
    while (this.#isTie(from - 1, first)) from--;
    this.#put(from, to);
  }

  #isTie(a: number, b: number): boolean {
    return a >= 0 && b < this.#sorted.rows.length && compare(this.#sorted, a, this.#sorted, b) === 0;
  }

  #put(from: number, to: number): void {
    const rows = this.#sorted.rows.subarray(from, to);
    rows.set(this.#order.rank(rows));
    this.#isInOrder[from] = 1;
    this.#isInOrder[to - 1] = 1;
  }
}
