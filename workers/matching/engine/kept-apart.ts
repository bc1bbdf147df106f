import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import type { Side } from './side.ts';
import { satisfies, similarityOf, type Terms } from './terms.ts';

/** What keeps two records apart under a rule, as bits: several may hold at once. */
export const APART = {
  AMOUNT: 1,
  DATE: 2,
  CURRENCY: 4,
  /** The other one is matched with a third. */
  TAKEN: 8,
  /** The rule's `where` leaves out one of the two. */
  WHERE: 16,
  /** An amount in the base currency is missing, or the two don't agree. */
  BASE_AMOUNT: 32,
  BASE_CURRENCY: 64,
  SIMILARITY: 128,
  /** All that the rule asks holds, and yet the pair is less sure than a match has to be. */
  CONFIDENCE: 256,
  /** Somebody said that the two must not come together. */
  REJECTED: 512,
} as const;

/** What of `APART`, without `TAKEN` and `REJECTED`, holds between two rows; 0 when they satisfy the rule. References and fields are not looked at. */
export function keptApart(
  rule: Rule,
  terms: Terms,
  sides: { left: Side; right: Side },
  leftRow: number,
  rightRow: number,
): number {
  const { left, right } = sides;
  let apart = 0;
  if (!amountsAgree(rule, terms, sides, leftRow, rightRow)) apart |= APART.AMOUNT;
  if (!datesAgree(rule, terms, sides, leftRow, rightRow)) apart |= APART.DATE;
  if (rule.config.matchCurrency && left.currency[leftRow] !== right.currency[rightRow]) apart |= APART.CURRENCY;
  if (rule.type !== 'DATE_LAG' && (rule.config.matchBaseAmount || rule.config.matchBaseCurrency)) {
    const { matchBaseAmount, matchBaseCurrency } = rule.config;
    const [l, r] = [left.base, right.base];
    const known = l.amountMissing[leftRow] === 0 && r.amountMissing[rightRow] === 0;
    const equal =
      l.amounts.low[leftRow] === r.amounts.low[rightRow] && l.amounts.high[leftRow] === r.amounts.high[rightRow];
    const agree = terms.pairwise?.basesAgree?.(leftRow, rightRow) ?? equal;
    if (matchBaseAmount && !(known && agree)) apart |= APART.BASE_AMOUNT;
    const sameCurrency = l.currencyMissing[leftRow] === 0 && l.currency[leftRow] === r.currency[rightRow];
    if (matchBaseCurrency && !sameCurrency) apart |= APART.BASE_CURRENCY;
  }
  const similar = terms.pairwise?.similarity;
  if (similar && similar.measure.of(leftRow, rightRow) < similar.floor) apart |= APART.SIMILARITY;
  if (apart !== 0) return apart;
  if (terms.looksAt.left?.[leftRow] === 0 || terms.looksAt.right?.[rightRow] === 0) return APART.WHERE;
  if (similarityOf(terms, leftRow, rightRow) === undefined) return APART.SIMILARITY;
  return satisfies(terms, left, right, leftRow, rightRow) ? 0 : APART.CONFIDENCE;
}

/** Whether both amount and date keep two rows apart: `keptApart` says so, too, and much more. */
export function isFar(
  rule: Rule,
  terms: Terms,
  sides: { left: Side; right: Side },
  leftRow: number,
  rightRow: number,
): boolean {
  return !amountsAgree(rule, terms, sides, leftRow, rightRow) && !datesAgree(rule, terms, sides, leftRow, rightRow);
}

function amountsAgree(
  rule: Rule,
  terms: Terms,
  { left, right }: { left: Side; right: Side },
  leftRow: number,
  rightRow: number,
): boolean {
  const lh = left.amounts.high[leftRow] as number;
  const ll = left.amounts.low[leftRow] as number;
  const rh = right.amounts.high[rightRow] as number;
  const rl = right.amounts.low[rightRow] as number;
  if (rule.type === 'EXACT') return !rule.config.matchAmount || (lh === rh && ll === rl);
  return terms.amountsAgree(lh, ll, rh, rl);
}

function datesAgree(
  rule: Rule,
  terms: Terms,
  { left, right }: { left: Side; right: Side },
  leftRow: number,
  rightRow: number,
): boolean {
  if (rule.type === 'EXACT' && rule.config.matchDate && rule.config.datePrecision === 'TIMESTAMP') {
    return left.columns.timestamp[leftRow] === right.columns.timestamp[rightRow];
  }
  const lag = (right.day[rightRow] as number) - (left.day[leftRow] as number);
  const window = lag < 0 ? terms.days.earlier : terms.days.later;
  return Math.abs(lag) >= window.from && Math.abs(lag) <= window.to;
}
