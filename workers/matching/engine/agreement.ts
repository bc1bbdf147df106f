import type { DateLagConfig, ToleranceConfig } from '@matcher/shared/jobs/contracts/rules.ts';
import {
  AMOUNT_DECIMALS,
  isAtMostFraction,
  magnitude,
  parseAmount,
  roundAmount,
} from '@matcher/shared/money/decimal.ts';
import { type Amounts, exact } from './amounts.ts';

/** Whether two amounts agree under a rule; each in two words, in the unit of the run. */
export type Agreement = (leftHigh: number, leftLow: number, rightHigh: number, rightLow: number) => boolean;

/** Within a fee of each other, on the same side of zero. */
export function withinFee({ unit, wide }: Amounts, config: DateLagConfig): Agreement {
  return within({ unit, wide }, parseAmount(config.feeTolerance));
}

/** Both rounded, then within the larger of the absolute and the percent tolerance; on the same side of zero. */
export function withinTolerance({ unit, wide }: Amounts, config: ToleranceConfig): Agreement {
  const absolute = parseAmount(config.absTolerance);
  const fraction = parseAmount(config.percentTolerance);
  const { roundingScale: scale, roundingMode: mode } = config;
  const step = scale >= AMOUNT_DECIMALS ? 1 : 10 ** (AMOUNT_DECIMALS - scale);
  const changesNothing = unit % step === 0;
  if (changesNothing && fraction === 0n) return within({ unit, wide }, absolute);
  const doubledBase = doubledBaseOf(config.percentageBase);
  const exactly: Agreement = (leftHigh, leftLow, rightHigh, rightLow) => {
    const left = exact(unit, wide, leftHigh, leftLow);
    const right = exact(unit, wide, rightHigh, rightLow);
    if ((left < 0n && right > 0n) || (left > 0n && right < 0n)) return false;
    const l = roundAmount(left, scale, mode);
    const r = roundAmount(right, scale, mode);
    const difference = magnitude(l - r);
    if (difference <= absolute) return true;
    return isAtMostFraction(2n * difference, fraction, doubledBase(magnitude(l), magnitude(r)));
  };
  if (wide) return exactly;
  // Most candidates are far from any limit: doubles decide those, with room for what doubles and rounding lose.
  const room = changesNothing ? 0 : (3 * step) / unit;
  const nearest = Number(absolute) / unit;
  const share = Number(fraction) / 1e8;
  return (leftHigh, left, rightHigh, right) => {
    if (left === right) return true;
    const largest = Math.max(Math.abs(left), Math.abs(right));
    if (Math.abs(left - right) - room > Math.max(nearest, share * largest) * (1 + 1e-9)) return false;
    return exactly(leftHigh, left, rightHigh, right);
  };
}

function within({ unit, wide }: Pick<Amounts, 'unit' | 'wide'>, tolerance: bigint): Agreement {
  if (wide) {
    return (leftHigh, leftLow, rightHigh, rightLow) => {
      const left = exact(unit, wide, leftHigh, leftLow);
      const right = exact(unit, wide, rightHigh, rightLow);
      if ((left < 0n && right > 0n) || (left > 0n && right < 0n)) return false;
      return magnitude(left - right) <= tolerance;
    };
  }
  const most = Number(tolerance / BigInt(unit));
  return (_, left, __, right) => {
    if ((left < 0 && right > 0) || (left > 0 && right < 0)) return false; // money that came and money that went
    return Math.abs(left - right) <= most;
  };
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
