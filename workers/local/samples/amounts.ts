import type { Draw } from './draw.ts';

/** A currency with the number of its decimals (ISO 4217). */
export interface Currency {
  code: 'BRL' | 'USD' | 'EUR' | 'JPY' | 'KWD';
  decimals: 0 | 2 | 3;
}

export const REAL: Currency = { code: 'BRL', decimals: 2 };
export const DOLLAR: Currency = { code: 'USD', decimals: 2 };
const EURO: Currency = { code: 'EUR', decimals: 2 };
const YEN: Currency = { code: 'JPY', decimals: 0 };
const DINAR: Currency = { code: 'KWD', decimals: 3 };

/** Mostly reais, as in a Brazilian merchant's books. */
export function currencyOf(draw: Draw, index: number): Currency {
  const percent = draw.integer('currency', index, 1, 100);
  if (percent <= 90) return REAL;
  if (percent <= 94) return DOLLAR;
  if (percent <= 97) return EURO;
  return percent <= 99 ? YEN : DINAR;
}

/** As `currencyOf`, without the yen: five hundredths of a currency without decimals are nothing to differ by. */
export function currencyWithDecimalsOf(draw: Draw, index: number): Currency {
  const currency = currencyOf(draw, index);
  return currency.decimals === 0 ? DINAR : currency;
}

/** 0.05, in minor units; five yen for the currency without decimals. */
export function toleranceOf(currency: Currency): number {
  return currency.decimals === 3 ? 50 : 5;
}

/**
 * The amounts, in minor units, that no other slot comes near.
 *
 * Every slot owns a step of 0.20 (20 yen) and its amount lies in the lower half of it: two slots are more than 0.10
 * apart, twice the tolerance. The upper half is left to amounts that must equal no slot's: the mismatches.
 */
export interface AmountLattice {
  amount(slot: number, currency: Currency): number;
  /** Two amounts that differ by more than 0.05 (often just so); the second lies in the upper half of a step. */
  mismatch(slot: number, currency: Currency): [amount: number, other: number];
}

export function createAmountLattice(draw: Draw, slots: number): AmountLattice {
  const order = draw.shuffle('amount slot', slots);
  // The lowest is 20.00, so that a mismatch of minus 7.25 stays positive.
  const floorOf = (slot: number, currency: Currency) => (order(slot) + 100) * toleranceOf(currency) * 4;
  return {
    amount: (slot, currency) =>
      floorOf(slot, currency) + draw.integer('amount', slot, 0, toleranceOf(currency) * 2 - 1),
    mismatch(slot, currency) {
      const tolerance = toleranceOf(currency);
      const difference = draw.chance('just outside', slot, 0.5) ? tolerance + 1 : 145 * tolerance;
      const amount = floorOf(slot, currency) + draw.integer('amount', slot, 0, tolerance - 1);
      return draw.chance('mismatch below', slot, 0.5)
        ? [amount, amount - difference]
        : [amount + tolerance, amount + tolerance + difference];
    },
  };
}

const POPULAR_PRICES: readonly [number, ...number[]] = [990, 1990, 2990, 4990, 9990];

/** One of a few prices, in minor units, that many records share: only their keys tell them apart. */
export function popularPrice(draw: Draw, index: number, currency: Currency): number {
  return draw.pick('popular price', index, POPULAR_PRICES) * (currency.decimals === 3 ? 10 : 1);
}

/** Minor units as an exact decimal text: 1234 reais cents are "12.34", 1234 yen "1234", 1234 fils "1.234". */
export function decimalText(minorUnits: number, currency: Currency): string {
  const sign = minorUnits < 0 ? '-' : '';
  const digits = String(Math.abs(minorUnits)).padStart(currency.decimals + 1, '0');
  if (currency.decimals === 0) return sign + digits;
  return `${sign}${digits.slice(0, -currency.decimals)}.${digits.slice(-currency.decimals)}`;
}
