import { amountPartOf, confidenceOf, datePart, WHOLE } from './confidence.ts';
import type { Side } from './side.ts';
import { SAME } from './similarity.ts';
import { referencePartOf, similarityOf, type Terms } from './terms.ts';
import type { MatchedPairs } from './types.ts';

const equal = (reference: number) => {
  const parts = { amount: WHOLE, currency: WHOLE, date: WHOLE, reference };
  return { parts, confidence: confidenceOf(parts) };
};
const EQUAL = equal(0);
const EQUAL_WITH_REFERENCE = equal(WHOLE);

const PARTS = ['amount', 'currency', 'date', 'reference'] as const;

/** The pairs of a run as they are found, each with its evidence, and which rows are still open. */
export class PairList {
  size = 0;
  /** Pairs that have their evidence. */
  #settled = 0;
  readonly #left: Side;
  readonly #right: Side;
  readonly #leftTaken: Uint8Array;
  readonly #rightTaken: Uint8Array;
  readonly #rule: Int32Array;
  readonly #leftRow: Int32Array;
  readonly #rightRow: Int32Array;
  readonly #confidence: Uint8Array;
  readonly #parts: MatchedPairs['parts'];

  constructor(left: Side, right: Side) {
    const most = Math.min(left.size, right.size);
    this.#left = left;
    this.#right = right;
    this.#leftTaken = new Uint8Array(left.size);
    this.#rightTaken = new Uint8Array(right.size);
    this.#rule = new Int32Array(most);
    this.#leftRow = new Int32Array(most);
    this.#rightRow = new Int32Array(most);
    this.#confidence = new Uint8Array(most);
    const part = () => new Uint16Array(most);
    this.#parts = { amount: part(), currency: part(), date: part(), reference: part() };
  }

  /** Adds a pair that satisfies a rule; both rows are taken from now on. `settle` gives it its evidence. */
  add(leftRow: number, rightRow: number): void {
    const at = this.size++;
    this.#leftTaken[leftRow] = 1;
    this.#rightTaken[rightRow] = 1;
    this.#leftRow[at] = leftRow;
    this.#rightRow[at] = rightRow;
  }

  /** Adds pairs that satisfy a rule with the same amount, date and currency, as far as the rule asks: nothing has to be looked up. */
  addEqual(rule: number, terms: Terms, leftRows: Int32Array, rightRows: Int32Array): void {
    this.settle(rule, terms);
    const from = this.size;
    for (let i = 0; i < leftRows.length; i++) this.add(leftRows[i] as number, rightRows[i] as number);
    this.#settled = this.size;
    const { parts, confidence } = terms.referencePart === WHOLE ? EQUAL_WITH_REFERENCE : EQUAL;
    this.#rule.fill(rule, from, this.size);
    this.#confidence.fill(confidence, from, this.size);
    for (const name of PARTS) this.#parts[name].fill(parts[name], from, this.size);
  }

  /**
   * Gives the pairs added since the last time their evidence. Where many are looked up in one short loop, memory is asked for many
   * at once; one by one, each would be waited for.
   */
  settle(rule: number, terms: Terms): void {
    const [left, right] = [this.#left, this.#right];
    const { wide } = left.amounts;
    const { oneCurrency } = terms;
    for (let at = this.#settled; at < this.size; at++) {
      const leftRow = this.#leftRow[at] as number;
      const rightRow = this.#rightRow[at] as number;
      const similarity = terms.pairwise?.isReference ? (similarityOf(terms, leftRow, rightRow) ?? 0) : SAME;
      const days = Math.abs((left.day[leftRow] as number) - (right.day[rightRow] as number));
      const amount = amountPartOf(
        left.amounts,
        wide ? (left.amounts.high[leftRow] as number) : 0,
        left.amounts.low[leftRow] as number,
        wide ? (right.amounts.high[rightRow] as number) : 0,
        right.amounts.low[rightRow] as number,
      );
      const currency = oneCurrency || left.currency[leftRow] === right.currency[rightRow] ? WHOLE : 0;
      const date = datePart(days, terms.dateWindow);
      const reference = referencePartOf(terms, similarity);
      this.#rule[at] = rule;
      this.#confidence[at] = confidenceOf({ amount, currency, date, reference });
      this.#parts.amount[at] = amount;
      this.#parts.currency[at] = currency;
      this.#parts.date[at] = date;
      this.#parts.reference[at] = reference;
    }
    this.#settled = this.size;
  }

  isOpenLeft(row: number): boolean {
    return this.#leftTaken[row] === 0;
  }

  /** @param lookedAt 1 for the rows that count; all when undefined. */
  openLeft(lookedAt?: Uint8Array): Int32Array {
    return openRows(this.#leftTaken, lookedAt);
  }

  openRight(lookedAt?: Uint8Array): Int32Array {
    return openRows(this.#rightTaken, lookedAt);
  }

  /** All pairs so far, in arrays of their own of exactly that length. */
  done(): MatchedPairs {
    const { amount, currency, date, reference } = this.#parts;
    const { size } = this;
    return {
      size,
      rule: this.#rule.slice(0, size),
      left: this.#leftRow.slice(0, size),
      right: this.#rightRow.slice(0, size),
      confidence: this.#confidence.slice(0, size),
      parts: {
        amount: amount.slice(0, size),
        currency: currency.slice(0, size),
        date: date.slice(0, size),
        reference: reference.slice(0, size),
      },
    };
  }
}

function openRows(taken: Uint8Array, lookedAt: Uint8Array | undefined): Int32Array {
  const rows = new Int32Array(taken.length);
  let count = 0;
  for (let row = 0; row < taken.length; row++) {
    if (taken[row] === 0 && lookedAt?.[row] !== 0) rows[count++] = row;
  }
  return rows.subarray(0, count);
}
