/**
 * How sure a pair is: amount 40, currency 30, date 20, reference 10, each weighted by how well it holds. In integers
 * throughout, so that every machine computes the same. Source: the reference's section on confidence.
 */

import { type Amounts, exact } from './amounts.ts';

/** A part that holds fully. Parts are in 1/10000, rounded down, so that a part is whole only when nothing is missing. */
export const WHOLE = 10_000;

/** Least confidence of a match; below it two records are no match at all. */
export const LEAST_CONFIDENCE = 60;

const WEIGHT = { amount: 40, currency: 30, date: 20, reference: 10 };

type Scale = Pick<Amounts, 'unit' | 'wide'>;

/** Each in 1/10000. */
export interface Parts {
  amount: number;
  currency: number;
  date: number;
  reference: number;
}

/** 0 to 100, rounded half up. */
export function confidenceOf(parts: Parts): number {
  const sum =
    WEIGHT.amount * parts.amount +
    WEIGHT.currency * parts.currency +
    WEIGHT.date * parts.date +
    WEIGHT.reference * parts.reference;
  return Math.floor((sum + WHOLE / 2) / WHOLE);
}

/** The least amount part that makes a match of the other three parts; more than `WHOLE` when none can. */
export function leastAmountPart(currency: number, date: number, reference: number): number {
  const others = WEIGHT.currency * currency + WEIGHT.date * date + WEIGHT.reference * reference;
  return Math.max(0, Math.ceil((LEAST_CONFIDENCE * WHOLE - WHOLE / 2 - others) / WEIGHT.amount));
}

/** 1 − difference / larger amount without its sign; 1 when equal, 0 when the difference is not smaller than both. */
export function amountPart(left: bigint, right: bigint): number {
  if (left === right) return WHOLE;
  const { difference, larger } = compared(left, right);
  return difference >= larger ? 0 : Number(((larger - difference) * BigInt(WHOLE)) / larger);
}

/** `amountPart` of two-word amounts. */
export function amountPartOf(of: Scale, leftHigh: number, left: number, rightHigh: number, right: number): number {
  if (left === right && leftHigh === rightHigh) return WHOLE;
  if (!of.wide) {
    const larger = Math.max(Math.abs(left), Math.abs(right));
    const difference = Math.abs(left - right);
    if (difference >= larger) return 0;
    // Far enough from 2^53 that the division can't be rounded up to the next whole number.
    if (larger < 2 ** 36) return Math.floor(((larger - difference) * WHOLE) / larger);
  }
  return amountPart(exact(of.unit, of.wide, leftHigh, left), exact(of.unit, of.wide, rightHigh, right));
}

/** `amountPartOf(…) >= least`, without the division. */
export function amountPartReaches(
  of: Scale,
  leftHigh: number,
  left: number,
  rightHigh: number,
  right: number,
  least: number,
): boolean {
  if (least <= 0 || (left === right && leftHigh === rightHigh)) return least <= WHOLE;
  if (!of.wide) {
    const largest = Math.max(Math.abs(left), Math.abs(right));
    if (largest < 2 ** 39) return (largest - Math.abs(left - right)) * WHOLE >= largest * least;
  }
  const { difference, larger } = compared(
    exact(of.unit, of.wide, leftHigh, left),
    exact(of.unit, of.wide, rightHigh, right),
  );
  return (larger - difference) * BigInt(WHOLE) >= larger * BigInt(least);
}

/** 1 − days / (window + 1). A window of null says that the rule leaves no room in the date: it counts fully. */
export function datePart(days: number, window: number | null): number {
  return window === null ? WHOLE : Math.floor(((window + 1 - days) * WHOLE) / (window + 1));
}

function compared(left: bigint, right: bigint): { difference: bigint; larger: bigint } {
  const absoluteLeft = left < 0n ? -left : left;
  const absoluteRight = right < 0n ? -right : right;
  return {
    difference: left > right ? left - right : right - left,
    larger: absoluteLeft > absoluteRight ? absoluteLeft : absoluteRight,
  };
}
