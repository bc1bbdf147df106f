import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { Difference } from './amounts.ts';
import { fieldsOf } from './fields.ts';
import { Forbidden } from './forbidden.ts';
import { APART, isFar, keptApart } from './kept-apart.ts';
import { fieldKey, type Key, numberKey, referenceKey } from './keys.ts';
import { visitNeighbours } from './neighbours.ts';
import { Pace } from './pace.ts';
import { type Side, sidesOf } from './side.ts';
import { type Terms, termsOf } from './terms.ts';
import type { Explanation, MatchInput, MatchOutput, NearMiss, OpenReason } from './types.ts';

/** Near misses that are kept of each record: the best. */
const MOST_NEAR_MISSES = 3;

type SideName = 'left' | 'right';

/**
 * Says of each record that `matchOneToOne` left open why, and what came nearest. Of each rule a record is held against at most 16 others: those that
 * share its reference and fields, or, where the rule asks for none, its currency; of them the nearest in amount, then in
 * days. So the time is near-linear in the number of records, and what is said does not depend on their order.
 *
 * @throws the reason of `input.signal` when that is aborted.
 */
export function explainOpen(input: MatchInput, output: MatchOutput): { left: Explanation[]; right: Explanation[] } {
  const { size } = output.pairs;
  if (size === input.left.size && size === input.right.size) return { left: [], right: [] };
  const sides = sidesOf(input.left, input.right, fieldsOf(input.rules));
  const forbidden = new Forbidden(input.forbidden);
  const pace = new Pace(input.signal, undefined, () => ({ rule: 0, rulesDone: input.rules.length, pairs: 0 }));
  const check = () => pace.check();
  const taken = { left: new Uint8Array(sides.left.size), right: new Uint8Array(sides.right.size) };
  for (let i = 0; i < size; i++) {
    taken.left[output.pairs.left[i] as number] = 1;
    taken.right[output.pairs.right[i] as number] = 1;
  }
  const open = { left: openRows(taken.left), right: openRows(taken.right) };
  const explanations = { left: unexplained(open.left), right: unexplained(open.right) };
  const limited = new Set(output.limited);
  for (const one of explanations.left) if (limited.has(one.row)) one.reason = 'SEARCH_LIMIT';
  const rules = [...input.rules.entries()].sort(([, a], [, b]) => a.priority - b.priority);
  for (const [index, rule] of rules) {
    pace.check();
    const terms = termsOf(rule, sides.left, sides.right);
    const binding = bindingKeys(rule, sides.left, sides.right);
    const keys = binding ?? currencyKeys(rule, sides.left, sides.right);
    const misses = new Misses({ index, rule, terms, isBinding: binding !== undefined }, sides, taken, forbidden);
    const turned = keys.map(({ left, right }) => ({ left: right, right: left }));
    visitNeighbours(sides.left, open.left, sides.right, keys, check, (place, other) => {
      pace.step();
      misses.add(explanations.left[place] as Explanation, 'left', other);
    });
    visitNeighbours(sides.right, open.right, sides.left, turned, check, (place, other) => {
      pace.step();
      misses.add(explanations.right[place] as Explanation, 'right', other);
    });
  }
  return explanations;
}

interface RuleAt {
  readonly index: number;
  readonly rule: Rule;
  readonly terms: Terms;
  /** Whether the two share a reference or a field, so that they are known to be meant for each other. */
  readonly isBinding: boolean;
}

/** What came near under one rule. */
class Misses {
  readonly #at: RuleAt;
  readonly #sides: { left: Side; right: Side };
  readonly #taken: Record<SideName, Uint8Array>;
  readonly #forbidden: Forbidden;
  readonly #difference = new Difference();

  constructor(
    at: RuleAt,
    sides: { left: Side; right: Side },
    taken: Record<SideName, Uint8Array>,
    forbidden: Forbidden,
  ) {
    this.#at = at;
    this.#sides = sides;
    this.#taken = taken;
    this.#forbidden = forbidden;
  }

  /** Holds an open record against one of the other side. */
  add(explanation: Explanation, name: SideName, other: number): void {
    const { index, rule, terms, isBinding } = this.#at;
    const sides = this.#sides;
    const otherName = name === 'left' ? 'right' : 'left';
    const { row, nearMisses: misses } = explanation;
    const leftRow = name === 'left' ? row : other;
    const rightRow = name === 'left' ? other : row;
    if (!isBinding && isFar(rule, terms, sides, leftRow, rightRow)) return; // nothing speaks for the two
    const apart =
      keptApart(rule, terms, sides, leftRow, rightRow) |
      (this.#taken[otherName][other] === 1 ? APART.TAKEN : 0) |
      (this.#forbidden.has(leftRow, rightRow) ? APART.REJECTED : 0);
    const reason = reasonOf(apart, isBinding, sides[name], row);
    if (rankOf(reason) > rankOf(explanation.reason)) explanation.reason = reason;
    const [own, others] = [sides[name], sides[otherName]];
    const difference = this.#difference;
    difference.measure(
      own.amounts.high[row] as number,
      own.amounts.low[row] as number,
      others.amounts.high[other] as number,
      others.amounts.low[other] as number,
    );
    const days = Math.abs((own.day[row] as number) - (others.day[other] as number));
    const size = bits(apart);
    const isNearer = (than: NearMiss) =>
      (size - bits(than.apart) ||
        difference.high - than.difference.high ||
        difference.low - than.difference.low ||
        days - than.days ||
        others.order.compare(other, than.row)) < 0;
    if (misses.length === MOST_NEAR_MISSES && !isNearer(misses[MOST_NEAR_MISSES - 1] as NearMiss)) return;
    const known = misses.findIndex((one) => one.row === other);
    if (known >= 0) {
      if (!isNearer(misses[known] as NearMiss)) return;
      misses.splice(known, 1);
    }
    const at = misses.findIndex(isNearer);
    const { high, low } = difference;
    misses.splice(at < 0 ? misses.length : at, 0, { row: other, rule: index, apart, difference: { high, low }, days });
    misses.length = Math.min(misses.length, MOST_NEAR_MISSES);
  }
}

/** Later ones say more. */
const BY_WEIGHT: readonly OpenReason[] = [
  'UNMATCHED',
  'FEE_VARIANCE',
  'MISSING_BASE_CURRENCY',
  'MISSING_BASE_AMOUNT',
  'SEARCH_LIMIT',
  'DUPLICATE_TRANSACTION',
];

const rankOf = (reason: OpenReason) => BY_WEIGHT.indexOf(reason);

function reasonOf(apart: number, isBinding: boolean, side: Side, row: number): OpenReason {
  if (isBinding && apart === APART.TAKEN) return 'DUPLICATE_TRANSACTION';
  if (apart === APART.BASE_AMOUNT && side.base.amountMissing[row] === 1) return 'MISSING_BASE_AMOUNT';
  if (apart === APART.BASE_CURRENCY && side.base.currencyMissing[row] === 1) return 'MISSING_BASE_CURRENCY';
  if (isBinding && apart === APART.AMOUNT) return 'FEE_VARIANCE';
  return 'UNMATCHED';
}

/** The keys that say that two records are meant for each other; undefined when the rule compares no text. Blank ones say nothing. */
function bindingKeys(rule: Rule, left: Side, right: Side): Key[] | undefined {
  const keys = rule.config.matchFields.map((name) => fieldKey(left, right, name));
  if (rule.type !== 'DATE_LAG' && rule.config.matchReference) {
    keys.push(referenceKey(left, right, { ...rule.config, referenceMustSet: true }));
  }
  return keys.length > 0 ? keys : undefined;
}

function currencyKeys(rule: Rule, left: Side, right: Side): Key[] {
  return rule.config.matchCurrency ? [numberKey(left.currency, right.currency)] : [];
}

function openRows(taken: Uint8Array): Int32Array {
  const rows = new Int32Array(taken.length);
  let count = 0;
  for (let row = 0; row < taken.length; row++) if (taken[row] === 0) rows[count++] = row;
  return rows.subarray(0, count);
}

function unexplained(rows: Int32Array): Explanation[] {
  return Array.from(rows, (row) => ({ row, reason: 'UNMATCHED', nearMisses: [] }));
}

function bits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}
