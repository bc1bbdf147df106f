import { MatcherError } from '@matcher/shared/errors.ts';

/**
 * Exact decimals. An amount is a bigint of hundred-millionths (10^-8): `1.50` is `150_000_000n`. Every amount that
 * a reconciliation can hold (up to 20 digits, 8 decimals) has exactly one such integer, and sums, differences and
 * comparisons are those of integers. No amount ever passes through a floating point number.
 */

/** Decimals that an amount can have. */
export const AMOUNT_DECIMALS = 8;

/** Digits that an amount can have, leading zeros and the trailing zeros of its decimals not counted. */
export const AMOUNT_DIGITS = 20;

/** What `1` is as an amount: 10^8. */
export const AMOUNT_ONE = 10n ** BigInt(AMOUNT_DECIMALS);

/**
 * Why a text is not an amount:
 * - `AMOUNT_SYNTAX`: not an optional sign, digits, and optionally a point with decimals;
 * - `AMOUNT_DECIMALS`: more than 8 decimals;
 * - `AMOUNT_DIGITS`: more than 20 digits.
 */
export type AmountErrorCode = 'AMOUNT_SYNTAX' | 'AMOUNT_DECIMALS' | 'AMOUNT_DIGITS';

/** Thrown by `parseAmount` for a text that is not an amount. Trying again cannot help; the text has to change. */
export class AmountError extends MatcherError {
  constructor(code: AmountErrorCode, message: string) {
    super(code, message, {
      hint: 'Write amounts as digits with a point, such as -1234.50: no thousands separator, no exponent, no currency sign.',
      remedy: 'permanent',
    });
  }
}

const GRAMMAR = /^([+-]?)([0-9]+)(?:\.([0-9]+))?$/;

/** A long text (a whole file in the wrong column) must not become a long message. */
const quoted = (text: string): string => JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);

/**
 * Reads an amount: an optional sign, digits, and optionally a point with 1 to 8 decimals. Nothing else: no spaces, no
 * exponent, no thousands separators, neither `.5` nor `5.`. `-0` is zero.
 *
 * @returns the amount in units of 10^-8.
 * @throws AmountError with the code of what is wrong.
 */
export function parseAmount(text: string): bigint {
  const parts = GRAMMAR.exec(text);
  if (parts === null) throw new AmountError('AMOUNT_SYNTAX', `${quoted(text)} is not an amount`);
  const decimals = parts[3] ?? '';
  if (decimals.length > AMOUNT_DECIMALS) {
    throw new AmountError(
      'AMOUNT_DECIMALS',
      `${quoted(text)} has ${decimals.length} decimals; an amount has at most ${AMOUNT_DECIMALS}`,
    );
  }
  const whole = parts[2] as string;
  const digits = `${whole}${decimals.replace(/0+$/, '')}`.replace(/^0+/, '').length;
  if (digits > AMOUNT_DIGITS) {
    throw new AmountError(
      'AMOUNT_DIGITS',
      `${quoted(text)} has ${digits} digits; an amount has at most ${AMOUNT_DIGITS}`,
    );
  }
  const magnitude = BigInt(whole + decimals.padEnd(AMOUNT_DECIMALS, '0'));
  return parts[1] === '-' ? -magnitude : magnitude;
}

/**
 * Writes an amount in its shortest form (`-1234.5`, `7`), with at least `minDecimals` decimals (0 to 8, default 0) where
 * a currency's minor unit should show: `formatAmount(v, { minDecimals: 2 })` gives `-1234.50`. Never rounds, and
 * `parseAmount` reads it back to the same amount.
 */
export function formatAmount(amount: bigint, options: { minDecimals?: number } = {}): string {
  const minDecimals = Math.min(options.minDecimals ?? 0, AMOUNT_DECIMALS);
  const digits = magnitude(amount)
    .toString()
    .padStart(AMOUNT_DECIMALS + 1, '0');
  const whole = digits.slice(0, -AMOUNT_DECIMALS);
  const decimals = digits.slice(-AMOUNT_DECIMALS).replace(/0+$/, '').padEnd(minDecimals, '0');
  return `${amount < 0n ? '-' : ''}${whole}${decimals === '' ? '' : `.${decimals}`}`;
}

/** The amount without its sign. */
export function magnitude(amount: bigint): bigint {
  return amount < 0n ? -amount : amount;
}

/**
 * How a value between two steps is rounded:
 * - `HALF_UP`: to the nearer step; from the middle away from zero (2.5 → 3, −2.5 → −3), as accountants and SQL's
 *   `numeric` do, and unlike `Math.round`;
 * - `BANKERS`: to the nearer step; from the middle to the even one (2.5 → 2, 3.5 → 4, −2.5 → −2);
 * - `FLOOR`: towards minus infinity (−2.1 → −3);
 * - `CEIL`: towards plus infinity (−2.9 → −2);
 * - `TRUNCATE`: towards zero (−2.9 → −2).
 */
export type RoundingMode = (typeof ROUNDING_MODES)[number];

export const ROUNDING_MODES = ['HALF_UP', 'BANKERS', 'FLOOR', 'CEIL', 'TRUNCATE'] as const;

/**
 * Rounds an amount to `scale` decimals (a whole number from 0; from 8 on nothing changes, since an amount has no more).
 * The result is an amount again, in units of 10^-8.
 */
export function roundAmount(amount: bigint, scale: number, mode: RoundingMode): bigint {
  if (scale >= AMOUNT_DECIMALS) return amount;
  const step = 10n ** BigInt(AMOUNT_DECIMALS - scale);
  const rest = amount % step; // has the amount's sign
  if (rest === 0n) return amount;
  const towardsZero = amount - rest;
  const awayFromZero = towardsZero + (amount < 0n ? -step : step);
  const middle = magnitude(rest) * 2n - step; // negative: below the middle, zero: on it
  switch (mode) {
    case 'HALF_UP':
      return middle >= 0n ? awayFromZero : towardsZero;
    case 'BANKERS':
      if (middle === 0n) return (towardsZero / step) % 2n === 0n ? towardsZero : awayFromZero;
      return middle > 0n ? awayFromZero : towardsZero;
    case 'FLOOR':
      return amount < 0n ? awayFromZero : towardsZero;
    case 'CEIL':
      return amount < 0n ? towardsZero : awayFromZero;
    case 'TRUNCATE':
      return towardsZero;
  }
}

/**
 * Whether `amount` ≤ `fraction` × `base`, exactly: all three in units of 10^-8, so the product has 16 decimals and the
 * other side is brought there; nothing is divided, nothing is lost.
 */
export function isAtMostFraction(amount: bigint, fraction: bigint, base: bigint): boolean {
  return amount * AMOUNT_ONE <= fraction * base;
}
