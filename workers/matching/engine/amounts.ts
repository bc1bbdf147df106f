import type { PackedAmounts } from './types.ts';

/** What `high` counts. */
const HIGH = 1e14;
const HIGH_EXACT = 10n ** 14n;

/** Up to here sums and differences of two are exact doubles, too. */
const MOST = 2 ** 52;

/**
 * One side's amounts, each `high × 10^14 + low` units. When no amount of the run needs it, `high` is 0 throughout and `low` is
 * the whole amount with its sign; else 0 ≤ `low` < 10^14. Either way amounts ascend by `high`, then `low`, and nothing is rounded.
 */
export interface Amounts {
  /** What 1 is, in 10^-8: the largest power of ten that divides all amounts of the run, and 1 when `high` is needed. */
  readonly unit: number;
  readonly wide: boolean;
  readonly high: Float64Array;
  readonly low: Float64Array;
}

/** Both sides' amounts in one unit. */
export function amountsOf(left: PackedAmounts, right: PackedAmounts): { left: Amounts; right: Amounts } {
  const unit = Math.min(commonUnit(left.low), commonUnit(right.low));
  const inUnits = [left, right].map((side) => inOneWord(side, unit));
  const [l, r] = inUnits;
  if (l && r) {
    const high = new Float64Array(Math.max(l.length, r.length));
    return { left: { unit, wide: false, high, low: l }, right: { unit, wide: false, high, low: r } };
  }
  return { left: inTwoWords(left), right: inTwoWords(right) };
}

/** An amount in units of 10^-8. */
export function amountAt({ unit, wide, high, low }: Amounts, row: number): bigint {
  return exact(unit, wide, high[row] as number, low[row] as number);
}

/** An amount of two words in units of 10^-8. */
export function exact(unit: number, wide: boolean, high: number, low: number): bigint {
  return wide ? BigInt(high) * HIGH_EXACT + BigInt(low) : BigInt(low) * BigInt(unit);
}

/** A difference or sum of two-word amounts whose `low` left its range. Of one-word amounts there is nothing to carry. */
export function carried(wide: boolean, high: number, low: number): { high: number; low: number } {
  if (!wide) return { high, low };
  const over = Math.floor(low / HIGH);
  return { high: high + over, low: low - over * HIGH };
}

/** |a − b| of two-word amounts; what the search compares. Fields, since two numbers can't be returned without an object. */
export class Difference {
  high = 0;
  low = 0;

  measure(aHigh: number, aLow: number, bHigh: number, bLow: number): void {
    let high = aHigh - bHigh;
    let low = aLow - bLow;
    if (high < 0 || (high === 0 && low < 0)) {
      high = -high;
      low = -low;
    }
    if (low < 0) {
      high -= 1;
      low += HIGH;
    }
    this.high = high;
    this.low = low;
  }
}

/** Packs exact amounts. */
export function packAmounts(amounts: ArrayLike<bigint>): PackedAmounts {
  const { length } = amounts;
  const low = new Float64Array(length);
  let row = 0;
  for (; row < length; row++) {
    const value = Number(amounts[row]);
    if (Math.abs(value) > MOST) break;
    low[row] = value;
  }
  if (row === length) return { low };
  const high = new Float64Array(length);
  for (row = 0; row < length; row++) {
    const amount = amounts[row] as bigint;
    let rest = amount % HIGH_EXACT;
    if (rest < 0n) rest += HIGH_EXACT;
    low[row] = Number(rest);
    high[row] = Number((amount - rest) / HIGH_EXACT);
  }
  return { low, high };
}

/** The largest power of ten up to 10^8 that divides all. What `high` counts is a multiple of each. */
function commonUnit(low: Float64Array): number {
  let unit = 1e8;
  for (let row = 0; row < low.length; row++) {
    const value = low[row] as number;
    while (Math.round(value / unit) * unit !== value) unit /= 10;
  }
  return unit;
}

/** Amounts in units, undefined when one doesn't fit. */
function inOneWord({ high, low }: PackedAmounts, unit: number): Float64Array | undefined {
  const result = new Float64Array(low.length);
  const unitsInHigh = HIGH / unit;
  for (let row = 0; row < low.length; row++) {
    const value = (high === undefined ? 0 : (high[row] as number) * unitsInHigh) + (low[row] as number) / unit;
    if (Math.abs(value) > MOST) return undefined;
    result[row] = value;
  }
  return result;
}

function inTwoWords({ high, low }: PackedAmounts): Amounts {
  if (high !== undefined) return { unit: 1, wide: true, high, low };
  const [highs, lows] = [new Float64Array(low.length), new Float64Array(low.length)];
  for (let row = 0; row < low.length; row++) {
    const value = low[row] as number;
    const over = Math.floor(value / HIGH);
    highs[row] = over;
    lows[row] = value - over * HIGH;
  }
  return { unit: 1, wide: true, high: highs, low: lows };
}
