import type { DateLagConfig, ExactConfig, Rule, ToleranceConfig } from '@matcher/shared/jobs/contracts/rules.ts';
import { isAtMostFraction, magnitude, parseAmount, roundAmount } from '@matcher/shared/money/decimal.ts';
import { amountPartReaches, datePart, leastAmountPart, WHOLE } from './confidence.ts';
import { fieldKey, type Key, numberKey, referenceKey, valueKey } from './keys.ts';
import type { Side } from './side.ts';

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
  readonly days: DayWindow;
  /** The window of the date's part of the confidence; null when the date counts fully. */
  readonly dateWindow: number | null;
  /** The reference's part of the confidence, which is the same for all pairs of a rule. */
  readonly referencePart: number;
  /** Whether the amounts of a left and a right row agree. */
  readonly amountsAgree: (left: number, right: number) => boolean;
}

export function termsOf(rule: Rule, left: Side, right: Side): Terms {
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
  const least = leastAmountPartOf(terms, days, left.currency[leftRow] === right.currency[rightRow]);
  return (
    amountPartReaches(left.amount[leftRow] as bigint, right.amount[rightRow] as bigint, least) &&
    terms.amountsAgree(leftRow, rightRow)
  );
}

function exactTerms(config: ExactConfig, left: Side, right: Side): Terms {
  const keys = commonKeys(config, left, right);
  if (config.matchReference) keys.push(referenceKey(left, right, config));
  if (config.matchAmount) keys.push(numberKey(left.amountPlace(), right.amountPlace()));
  if (config.matchDate) keys.push(dateKey(config.datePrecision, left, right));
  return {
    keys,
    days: within(config.matchDate ? 0 : Number.POSITIVE_INFINITY),
    dateWindow: null,
    referencePart: WHOLE, // it is equal, or the rule says that it doesn't count
    amountsAgree: () => true,
  };
}

function toleranceTerms(config: ToleranceConfig, left: Side, right: Side): Terms {
  const keys = commonKeys(config, left, right);
  if (config.matchReference) keys.push(referenceKey(left, right, config));
  const absolute = parseAmount(config.absTolerance);
  const fraction = parseAmount(config.percentTolerance);
  const leftRounded = rounded(left, config);
  const rightRounded = rounded(right, config);
  const doubledBase = doubledBaseOf(config.percentageBase);
  return {
    keys,
    days: within(config.dateWindowDays),
    dateWindow: config.dateWindowDays,
    referencePart: config.matchReference || config.matchFields.length > 0 ? WHOLE : 0,
    amountsAgree: (leftRow, rightRow) => {
      if (!sameDirection(left.amount[leftRow] as bigint, right.amount[rightRow] as bigint)) return false;
      const l = leftRounded[leftRow] as bigint;
      const r = rightRounded[rightRow] as bigint;
      const difference = magnitude(l - r);
      if (difference <= absolute) return true;
      return isAtMostFraction(2n * difference, fraction, doubledBase(magnitude(l), magnitude(r)));
    },
  };
}

function dateLagTerms(config: DateLagConfig, left: Side, right: Side): Terms {
  const fee = parseAmount(config.feeTolerance);
  const { minDays, maxDays, inclusive, direction } = config;
  const lag = inclusive ? { from: minDays, to: maxDays } : { from: minDays + 1, to: maxDays - 1 };
  // The same day is neither before nor after: it counts as either, so every direction takes it when the lag may be 0.
  const later = direction === 'RIGHT_BEFORE_LEFT' ? { from: lag.from, to: Math.min(lag.to, 0) } : lag;
  const earlier = direction === 'LEFT_BEFORE_RIGHT' ? NONE : { from: Math.max(lag.from, 1), to: lag.to };
  return {
    keys: commonKeys(config, left, right),
    days: { earlier, later },
    dateWindow: config.maxDays,
    referencePart: config.matchFields.length > 0 ? WHOLE : 0,
    amountsAgree: (leftRow, rightRow) => {
      const l = left.amount[leftRow] as bigint;
      const r = right.amount[rightRow] as bigint;
      return sameDirection(l, r) && magnitude(l - r) <= fee;
    },
  };
}

const NONE = { from: 1, to: 0 };

function within(days: number): DayWindow {
  return { earlier: { from: 1, to: days }, later: { from: 0, to: days } };
}

function commonKeys(config: { matchCurrency: boolean; matchFields: string[] }, left: Side, right: Side): Key[] {
  const keys = config.matchFields.map((name) => fieldKey(left, right, name));
  if (config.matchCurrency) keys.push(numberKey(left.currency, right.currency));
  return keys;
}

function dateKey(precision: ExactConfig['datePrecision'], left: Side, right: Side): Key {
  if (precision === 'DAY') {
    return valueKey(
      (row) => left.day[row] as number,
      (row) => right.day[row] as number,
    );
  }
  return valueKey(
    (row) => left.columns.timestamp[row] as number,
    (row) => right.columns.timestamp[row] as number,
  );
}

function rounded(side: Side, config: ToleranceConfig): bigint[] {
  return Array.from(side.amount, (amount) => roundAmount(amount, config.roundingScale, config.roundingMode));
}

/** Money that came and money that went are never one payment, however generous the tolerance. Zero goes with both. */
function sameDirection(left: bigint, right: bigint): boolean {
  return (left >= 0n && right >= 0n) || (left <= 0n && right <= 0n);
}

/** Twice the base, so that the average needs no division. */
function doubledBaseOf(base: ToleranceConfig['percentageBase']): (left: bigint, right: bigint) => bigint {
  switch (base) {
    case 'MAX':
      return (left, right) => left + right + magnitude(left - right);
    case 'MIN':
      return (left, right) => left + right - magnitude(left - right);
    case 'AVERAGE':
      return (left, right) => left + right;
    case 'LEFT':
      return (left) => 2n * left;
    case 'RIGHT':
      return (_, right) => 2n * right;
  }
}
