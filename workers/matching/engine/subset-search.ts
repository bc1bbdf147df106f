/** Steps that one search may take: some milliseconds. What needs more is reported and not guessed. */
export const MOST_STEPS = 50_000;

/** A part that may be taken. */
export interface Part {
  readonly amount: bigint;
  /** UTC days from the whole. */
  readonly days: number;
  /** Its place in the order of its side; every part has its own. */
  readonly rank: number;
}

export type Found = { readonly parts: readonly number[]; readonly days: number } | 'nothing' | 'limit';

/**
 * Finds parts that sum up to an amount within a tolerance: of all such subsets the one with the fewest parts, then the fewest
 * days in sum, then the smallest ranks. Exact, on whole numbers; negative parts count like others.
 *
 * Tries one part, then two, and so on. Parts ascend by amount, so the least and most that so many further parts can add are known
 * from sums of neighbours, and whole branches are left out. Of equal amounts the nearer and smaller ones go first: another
 * choice among them can't be better.
 *
 * @returns indices of the parts; `limit` when it took more than `MOST_STEPS`.
 */
export function findSubset(parts: readonly Part[], target: bigint, tolerance: bigint, step: () => void): Found {
  return new SubsetSearch(parts, target - tolerance, target + tolerance, step).run();
}

class SubsetSearch {
  readonly #parts: readonly Part[];
  readonly #step: () => void;
  /** Ascending by amount; equal ones by days, then rank. */
  readonly #order: number[];
  /**
   * Amounts along `order` and their running sums. Doubles where every sum is exact in them; else bigints, which the same code
   * adds and compares.
   */
  readonly #amounts: number[];
  readonly #sums: number[];
  readonly #least: number;
  readonly #most: number;
  readonly #zero: number;
  readonly #chosen: number[] = [];
  #best: { parts: number[]; days: number } | undefined;
  #steps = 0;

  constructor(parts: readonly Part[], least: bigint, most: bigint, step: () => void) {
    this.#parts = parts;
    this.#step = step;
    this.#order = [...parts.keys()].sort((i, j) => {
      const [a, b] = [parts[i] as Part, parts[j] as Part];
      if (a.amount !== b.amount) return a.amount < b.amount ? -1 : 1;
      return a.days - b.days || a.rank - b.rank;
    });
    const magnitudes = parts.reduce((sum, { amount }) => sum + (amount < 0n ? -amount : amount), 0n);
    const bounds = [least, most].map((bound) => (bound < 0n ? -bound : bound));
    const isSafe = bounds.every((bound) => bound + magnitudes <= BigInt(Number.MAX_SAFE_INTEGER));
    const as = (amount: bigint) => (isSafe ? Number(amount) : amount) as number;
    this.#zero = as(0n);
    this.#least = as(least);
    this.#most = as(most);
    this.#amounts = this.#order.map((part) => as((parts[part] as Part).amount));
    this.#sums = [this.#zero];
    for (const amount of this.#amounts) this.#sums.push((this.#sums.at(-1) as number) + amount);
  }

  run(): Found {
    for (let count = 1; count <= this.#order.length; count++) {
      if (!this.#choose(0, count, this.#zero, 0)) return 'limit';
      if (this.#best) return this.#best;
    }
    return 'nothing';
  }

  /** Chooses so many further parts from a place on; says whether it stayed within its steps. */
  #choose(from: number, count: number, sum: number, days: number): boolean {
    const size = this.#order.length;
    const sums = this.#sums as [number, ...number[]];
    const mostAdded = (sums[size] as number) - (sums[size - count] as number);
    if (sum + mostAdded < this.#least) return true;
    let first = count === 1 ? this.#firstFrom(from, this.#least, sum) : from;
    for (; first + count <= size; first++) {
      this.#step();
      if (++this.#steps > MOST_STEPS) return false;
      const leastAdded = (sums[first + count] as number) - (sums[first] as number);
      if (sum + leastAdded > this.#most) return true;
      const amount = this.#amounts[first] as number;
      // Of equal amounts the first ones that are free.
      if (first > from && amount === this.#amounts[first - 1]) continue;
      const own = this.#order[first] as number;
      const nowDays = days + (this.#parts[own] as Part).days;
      if (this.#best && nowDays > this.#best.days) continue;
      this.#chosen.push(own);
      if (count === 1) this.#keepBest(nowDays);
      else if (!this.#choose(first + 1, count - 1, sum + amount, nowDays)) return false;
      this.#chosen.pop();
    }
    return true;
  }

  /** The first place from which on one part brings the sum to the least that is asked for. */
  #firstFrom(from: number, least: number, sum: number): number {
    let low = from;
    let high = this.#amounts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sum + (this.#amounts[middle] as number) < least) low = middle + 1;
      else high = middle;
    }
    // Not into the middle of equal amounts, of which an earlier one may have been passed over.
    return low;
  }

  #keepBest(days: number): void {
    if (this.#best && (days > this.#best.days || (days === this.#best.days && !this.#hasSmallerRanks()))) return;
    this.#best = { parts: [...this.#chosen], days };
  }

  #hasSmallerRanks(): boolean {
    const ranks = (parts: readonly number[]) =>
      parts.map((part) => (this.#parts[part] as Part).rank).sort((a, b) => a - b);
    const [own, best] = [ranks(this.#chosen), ranks(this.#best?.parts ?? [])];
    const differs = own.findIndex((rank, i) => rank !== best[i]);
    return differs >= 0 && (own[differs] as number) < (best[differs] as number);
  }
}
