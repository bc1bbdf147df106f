import { amountPartOf, confidenceOf, datePart, type Parts, WHOLE } from './confidence.ts';
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

/** The pairs of a run as they are found, each with its evidence, and which rows are still open. */
export class PairList {
  size = 0;
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

  /** Adds a pair that satisfies a rule; both rows are taken from now on. */
  add(rule: number, terms: Terms, leftRow: number, rightRow: number): void {
    const similarity = terms.pairwise?.isReference ? (similarityOf(terms, leftRow, rightRow) ?? 0) : SAME;
    const days = Math.abs((this.#left.day[leftRow] as number) - (this.#right.day[rightRow] as number));
    const { amounts: left } = this.#left;
    const { amounts: right } = this.#right;
    const parts = {
      amount: amountPartOf(
        left,
        left.high[leftRow] as number,
        left.low[leftRow] as number,
        right.high[rightRow] as number,
        right.low[rightRow] as number,
      ),
      currency: this.#left.currency[leftRow] === this.#right.currency[rightRow] ? WHOLE : 0,
      date: datePart(days, terms.dateWindow),
      reference: referencePartOf(terms, similarity),
    };
    this.#put(rule, leftRow, rightRow, confidenceOf(parts), parts);
  }

  /** Adds a pair that satisfies a rule with the same amount, date and currency, as far as the rule asks: nothing has to be looked up. */
  addEqual(rule: number, terms: Terms, leftRow: number, rightRow: number): void {
    const evidence = terms.referencePart === WHOLE ? EQUAL_WITH_REFERENCE : EQUAL;
    this.#put(rule, leftRow, rightRow, evidence.confidence, evidence.parts);
  }

  #put(rule: number, leftRow: number, rightRow: number, confidence: number, parts: Parts): void {
    const at = this.size++;
    this.#leftTaken[leftRow] = 1;
    this.#rightTaken[rightRow] = 1;
    this.#rule[at] = rule;
    this.#leftRow[at] = leftRow;
    this.#rightRow[at] = rightRow;
    this.#confidence[at] = confidence;
    this.#parts.amount[at] = parts.amount;
    this.#parts.currency[at] = parts.currency;
    this.#parts.date[at] = parts.date;
    this.#parts.reference[at] = parts.reference;
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
