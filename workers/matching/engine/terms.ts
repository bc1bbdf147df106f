import type { DateLagConfig, ExactConfig, Rule, ToleranceConfig } from '@matcher/shared/jobs/contracts/rules.ts';
import { AMOUNT_ONE, parseAmount } from '@matcher/shared/money/decimal.ts';
import { type Agreement, withinFee, withinTolerance } from './agreement.ts';
import { amountPartReaches, datePart, leastAmountPart, WHOLE } from './confidence.ts';
import { amountKeys, fieldKey, type Key, numberKey, referenceKey } from './keys.ts';
import type { Side } from './side.ts';
import { SAME, Similarity } from './similarity.ts';
import { rowsWhere } from './where.ts';

/** Days that the right record may lie before or after the left one; `from` > `to` means none. Both ends included. */
export interface DayWindow {
  /** The right record's day is earlier, by so many days (at least 1). */
  readonly earlier: { readonly from: number; readonly to: number };
  /** The right record's day is the same or later, by so many days. */
  readonly later: { readonly from: number; readonly to: number };
}

/**
 * A rule as the pairing sees it. Two rows satisfy it when their keys are equal, their days lie in the window, their
 * amounts agree, and the confidence of the pair reaches 60.
 *
 * The pairing relies on one property of `amountsAgree`: when two amounts agree, so do any two that replace one of them by
 * an amount between both. All rules have it: rounding keeps the order of amounts, and a percent tolerance of at most 1
 * can't shrink faster than the difference does.
 */
export interface Terms {
  /** What must be equal; rows are partitioned by it. */
  readonly keys: readonly Key[];
  /** Whether the currency is one of the keys. */
  readonly oneCurrency: boolean;
  /** Whether any two rows with equal keys satisfy the rule, with the same amount, date and currency as far as it asks. */
  readonly keysSuffice: boolean;
  readonly days: DayWindow;
  /** The window of the date's part of the confidence; null when the date counts fully. */
  readonly dateWindow: number | null;
  /** The reference's part of the confidence, which is the same for all pairs of a rule. */
  readonly referencePart: number;
  readonly amountsAgree: Agreement;
  /** Rows that the rule looks at: what `where` says, and what has the base amount and currency that it compares. */
  readonly looksAt: { readonly left: Uint8Array | undefined; readonly right: Uint8Array | undefined };
  /** What has to be held against each pair of rows on its own, since no order of amounts or days leads to it. */
  readonly pairwise: Pairwise | undefined;
}

export interface Pairwise {
  /** The amounts in the base currency. */
  readonly basesAgree: ((leftRow: number, rightRow: number) => boolean) | undefined;
  readonly similarity: { readonly field: string; readonly floor: number; readonly measure: Similarity } | undefined;
  /** Whether the similarity is what stands for the reference in the confidence. */
  readonly isReference: boolean;
}

export function termsOf(rule: Rule, left: Side, right: Side): Terms {
  const own = termsOfType(rule, left, right);
  const pairwise = pairwiseOf(rule, left, right, own.referencePart);
  return { ...own, keysSuffice: own.keysSuffice && !pairwise, looksAt: looksAt(rule, left, right), pairwise };
}

type TermsOfType = Omit<Terms, 'looksAt' | 'pairwise'>;

function termsOfType(rule: Rule, left: Side, right: Side): TermsOfType {
  switch (rule.type) {
    case 'EXACT':
      return exactTerms(rule.config, left, right);
    case 'TOLERANCE':
      return toleranceTerms(rule.config, left, right);
    case 'DATE_LAG':
      return dateLagTerms(rule.config, left, right);
  }
}

/** Least amount part with which two rows so many days apart match at all; more than `WHOLE` when they can't. */
export function leastAmountPartOf(terms: Terms, days: number, sameCurrency: boolean): number {
  return leastAmountPart(sameCurrency ? WHOLE : 0, datePart(days, terms.dateWindow), terms.referencePart);
}

/** Whether two rows with equal keys satisfy the rule. */
export function satisfies(terms: Terms, left: Side, right: Side, leftRow: number, rightRow: number): boolean {
  const lag = (right.day[rightRow] as number) - (left.day[leftRow] as number);
  const days = Math.abs(lag);
  const window = lag < 0 ? terms.days.earlier : terms.days.later;
  if (days < window.from || days > window.to) return false;
  const { high: leftHigh, low: leftLow } = left.amounts;
  const { high: rightHigh, low: rightLow } = right.amounts;
  const [lh, ll] = [leftHigh[leftRow] as number, leftLow[leftRow] as number];
  const [rh, rl] = [rightHigh[rightRow] as number, rightLow[rightRow] as number];
  if (!terms.amountsAgree(lh, ll, rh, rl)) return false;
  const similarity = similarityOf(terms, leftRow, rightRow);
  if (similarity === undefined) return false;
  const same = left.currency[leftRow] === right.currency[rightRow];
  const reference = referencePartOf(terms, similarity);
  const least = leastAmountPart(same ? WHOLE : 0, datePart(days, terms.dateWindow), reference);
  return amountPartReaches(left.amounts, lh, ll, rh, rl, least);
}

/** The similarity of two rows, 10,000 where the rule does not ask; undefined when they fail what is held against each pair. */
export function similarityOf({ pairwise }: Terms, leftRow: number, rightRow: number): number | undefined {
  if (pairwise === undefined) return SAME;
  if (pairwise.basesAgree && !pairwise.basesAgree(leftRow, rightRow)) return undefined;
  if (pairwise.similarity === undefined) return SAME;
  const { floor, measure } = pairwise.similarity;
  const similarity = measure.of(leftRow, rightRow);
  return similarity < floor ? undefined : similarity;
}

/** The reference's part of a pair's confidence. */
export function referencePartOf({ pairwise, referencePart }: Terms, similarity: number): number {
  return pairwise?.isReference ? similarity : referencePart;
}

function exactTerms(config: ExactConfig, left: Side, right: Side): TermsOfType {
  const keys = commonKeys(config, left, right);
  if (config.matchReference) keys.push(referenceKey(left, right, config));
  if (config.matchAmount) keys.push(...amountKeys(left.amounts, right.amounts));
  if (config.matchBaseAmount) keys.push(...amountKeys(left.base.amounts, right.base.amounts));
  if (config.matchDate) keys.push(dateKey(config.datePrecision, left, right));
  return {
    keys,
    oneCurrency: config.matchCurrency,
    keysSuffice: config.matchAmount && config.matchCurrency,
    days: within(config.matchDate ? 0 : Number.POSITIVE_INFINITY),
    dateWindow: null,
    referencePart: WHOLE, // it is equal, or the rule says that it doesn't count
    amountsAgree: () => true,
  };
}

function toleranceTerms(config: ToleranceConfig, left: Side, right: Side): TermsOfType {
  const keys = commonKeys(config, left, right);
  if (config.matchReference) keys.push(referenceKey(left, right, config));
  return {
    keys,
    oneCurrency: config.matchCurrency,
    keysSuffice: false,
    days: within(config.dateWindowDays),
    dateWindow: config.dateWindowDays,
    referencePart: config.matchReference || config.matchFields.length > 0 ? WHOLE : 0,
    amountsAgree: withinTolerance(left.amounts, config),
  };
}

function dateLagTerms(config: DateLagConfig, left: Side, right: Side): TermsOfType {
  const { minDays, maxDays, inclusive, direction } = config;
  const lag = inclusive ? { from: minDays, to: maxDays } : { from: minDays + 1, to: maxDays - 1 };
  // The same day is neither before nor after: it counts as either, so every direction takes it when the lag may be 0.
  const later = direction === 'RIGHT_BEFORE_LEFT' ? { from: lag.from, to: Math.min(lag.to, 0) } : lag;
  const earlier = direction === 'LEFT_BEFORE_RIGHT' ? NO_DAYS : { from: Math.max(lag.from, 1), to: lag.to };
  return {
    keys: commonKeys(config, left, right),
    oneCurrency: config.matchCurrency,
    keysSuffice: false,
    days: { earlier, later },
    dateWindow: config.maxDays,
    referencePart: config.matchFields.length > 0 ? WHOLE : 0,
    amountsAgree: withinFee(left.amounts, config),
  };
}

const NO_DAYS = { from: 1, to: 0 };

function within(days: number): DayWindow {
  return { earlier: { from: 1, to: days }, later: { from: 0, to: days } };
}

interface Common {
  matchCurrency: boolean;
  matchFields: string[];
  matchBaseCurrency?: boolean;
}

function commonKeys(config: Common, left: Side, right: Side): Key[] {
  const keys = config.matchFields.map((name) => fieldKey(left, right, name));
  if (config.matchCurrency) keys.push(numberKey(left.currency, right.currency));
  if (config.matchBaseCurrency) keys.push(numberKey(left.base.currency, right.base.currency));
  return keys;
}

function dateKey(precision: ExactConfig['datePrecision'], left: Side, right: Side): Key {
  if (precision === 'DAY') return numberKey(left.day, right.day);
  return numberKey(left.columns.timestamp, right.columns.timestamp);
}

function looksAt(rule: Rule, left: Side, right: Side): Terms['looksAt'] {
  const { where } = rule.config;
  const of = (side: Side, marks: Uint8Array | undefined) => {
    if (rule.type === 'DATE_LAG' || !(rule.config.matchBaseAmount || rule.config.matchBaseCurrency)) return marks;
    const known = marks ?? new Uint8Array(side.size).fill(1);
    for (let row = 0; row < side.size; row++) {
      if (rule.config.matchBaseAmount && side.base.amountMissing[row] === 1) known[row] = 0;
      if (rule.config.matchBaseCurrency && side.base.currencyMissing[row] === 1) known[row] = 0;
    }
    return known;
  };
  return { left: of(left, rowsWhere(left, where.left)), right: of(right, rowsWhere(right, where.right)) };
}

function pairwiseOf(rule: Rule, left: Side, right: Side, referencePart: number): Pairwise | undefined {
  const { similarity } = rule.config;
  const bases = rule.type === 'TOLERANCE' && rule.config.matchBaseAmount;
  if (similarity === undefined && !bases) return undefined;
  const [l, r] = [left.base.amounts, right.base.amounts];
  const agree = bases ? withinTolerance(l, rule.config) : undefined;
  return {
    basesAgree:
      agree &&
      ((leftRow, rightRow) =>
        agree(
          l.high[leftRow] as number,
          l.low[leftRow] as number,
          r.high[rightRow] as number,
          r.low[rightRow] as number,
        )),
    similarity: similarity && {
      field: similarity.field,
      floor: Number((parseAmount(similarity.floor) * BigInt(SAME) + AMOUNT_ONE - 1n) / AMOUNT_ONE),
      measure: new Similarity(left.text(similarity.field), right.text(similarity.field)),
    },
    isReference: similarity !== undefined && referencePart === 0,
  };
}
