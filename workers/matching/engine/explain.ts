import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { Difference } from './amounts.ts';
import { fieldsOf } from './fields.ts';
import { APART, isFar, keptApart } from './kept-apart.ts';
import { fieldKey, type Key, numberKey, referenceKey } from './keys.ts';
import { Neighbours } from './neighbours.ts';
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
  const sides = sidesOf(input.left, input.right, fieldsOf(input.rules));
  const pace = new Pace(input.signal, undefined, () => ({ rule: 0, rulesDone: input.rules.length, pairs: 0 }));
  const taken = { left: new Uint8Array(sides.left.size), right: new Uint8Array(sides.right.size) };
  for (let i = 0; i < output.pairs.size; i++) {
    taken.left[output.pairs.left[i] as number] = 1;
    taken.right[output.pairs.right[i] as number] = 1;
  }
  const explanations = { left: open(taken.left), right: open(taken.right) };
  for (const row of output.limited) (explanations.left.get(row) as Explanation).reason = 'SEARCH_LIMIT';
  for (const name of ['left', 'right'] as const) sides[name].order.rank(allRows(sides[name].size));
  const rules = [...input.rules.entries()].sort(([, a], [, b]) => a.priority - b.priority);
  for (const [index, rule] of rules) {
    pace.check();
    const terms = termsOf(rule, sides.left, sides.right);
    const binding = bindingKeys(rule, sides.left, sides.right);
    const neighbours = new Neighbours(sides, binding ?? currencyKeys(rule, sides.left, sides.right), () =>
      pace.check(),
    );
    for (const name of ['left', 'right'] as const) {
      for (const explanation of explanations[name].values()) {
        pace.step();
        for (const other of neighbours.of(name, explanation.row)) {
          addMiss(explanation, name, other, { index, rule, terms, isBinding: binding !== undefined }, sides, taken);
        }
      }
    }
  }
  return { left: [...explanations.left.values()], right: [...explanations.right.values()] };
}

interface RuleAt {
  readonly index: number;
  readonly rule: Rule;
  readonly terms: Terms;
  /** Whether the two share a reference or a field, so that they are known to be meant for each other. */
  readonly isBinding: boolean;
}

function addMiss(
  explanation: Explanation,
  name: SideName,
  other: number,
  { index, rule, terms, isBinding }: RuleAt,
  sides: { left: Side; right: Side },
  taken: Record<SideName, Uint8Array>,
): void {
  const otherName = name === 'left' ? 'right' : 'left';
  const { row } = explanation;
  const leftRow = name === 'left' ? row : other;
  const rightRow = name === 'left' ? other : row;
  if (!isBinding && isFar(rule, terms, sides, leftRow, rightRow)) return; // nothing speaks for the two
  const held = keptApart(rule, terms, sides, leftRow, rightRow);
  const apart = held | (taken[otherName][other] === 1 ? APART.TAKEN : 0);
  const reason = reasonOf(apart, isBinding, sides[name], row);
  if (rankOf(reason) > rankOf(explanation.reason)) explanation.reason = reason;
  const misses = explanation.nearMisses;
  const farthest = misses.length === MOST_NEAR_MISSES ? misses[MOST_NEAR_MISSES - 1] : undefined;
  const size = bits(apart);
  if (farthest && size > (farthest.distance[0] as number)) return;
  const { amounts, day } = sides[name];
  const difference = new Difference();
  difference.measure(
    amounts.high[row] as number,
    amounts.low[row] as number,
    sides[otherName].amounts.high[other] as number,
    sides[otherName].amounts.low[other] as number,
  );
  const miss: NearMiss = {
    row: other,
    rule: index,
    apart,
    distance: [
      size,
      difference.high,
      difference.low,
      Math.abs((day[row] as number) - (sides[otherName].day[other] as number)),
      sides[otherName].order.byRow[other] as number,
    ],
  };
  const known = misses.findIndex((one) => one.row === other);
  if (known >= 0) {
    if (compare(miss.distance, (misses[known] as NearMiss).distance) >= 0) return;
    misses.splice(known, 1);
  }
  const at = misses.findIndex((one) => compare(miss.distance, one.distance) < 0);
  misses.splice(at < 0 ? misses.length : at, 0, miss);
  misses.length = Math.min(misses.length, MOST_NEAR_MISSES);
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

function open(taken: Uint8Array): Map<number, Explanation> {
  const explanations = new Map<number, Explanation>();
  for (let row = 0; row < taken.length; row++) {
    if (taken[row] === 0) explanations.set(row, { row, reason: 'UNMATCHED', nearMisses: [] });
  }
  return explanations;
}

function allRows(size: number): Int32Array {
  const rows = new Int32Array(size);
  for (let row = 0; row < size; row++) rows[row] = row;
  return rows;
}

function bits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return (a[i] as number) - (b[i] as number);
  return 0;
}
