import {
  type AmountLattice,
  type Currency,
  createAmountLattice,
  currencyOf,
  currencyWithDecimalsOf,
  DOLLAR,
  popularPrice,
  REAL,
  toleranceOf,
} from './amounts.ts';
import { BAD_RECORDS } from './bad-records.ts';
import { LAST_DAY } from './calendar.ts';
import type { Draw } from './draw.ts';
import { createLayout, type Layout } from './layout.ts';

/** A payment that both sides have. Amounts in minor units, days as in the calendar. */
export interface BankPayment {
  currency: Currency;
  ledgerAmount: number;
  bankAmount: number;
  postedDay: number;
  bookedDay: number;
  /** Which side lacks the end-to-end id. */
  withoutId: 'ledger' | 'bank' | undefined;
  /** Undefined: the two amounts are too far apart. */
  rule: 'end-to-end-id' | 'reference' | 'reference-tolerance' | 'lag' | undefined;
  ledgerScenario: string;
  bankScenario: string;
}

/** What only one side has. The slot gives it its amount, end-to-end id and reference. */
export interface UnpairedEntry {
  slot: number;
  currency: Currency;
  day: number;
}

/** Who has which entries, and what becomes of them; nothing about how they are written. */
export interface BankPayments {
  ledger: Layout<'payments' | 'only' | 'bad'>;
  bank: Layout<'payments' | 'duplicates' | 'fees' | 'only' | 'bad'>;
  lattice: AmountLattice;
  /** The first slots of what only the ledger, of the bank's fees, and of what else only the bank has. */
  ledgerSlots: number;
  feeSlots: number;
  bankSlots: number;
  payment(index: number): BankPayment;
  /** The payment that a bank line repeats. */
  duplicatedPayment(duplicate: number): number;
  unpaired(side: 'ledger' | 'bank', offset: number): UnpairedEntry;
}

/** Days at the end of the period in which nothing is posted, so that every lag ends within it. */
const RUN_OUT = 7;

/** Near misses: the same keys and amount, but booked too late, before it was posted, or in another currency. */
const NEAR_MISSES: readonly { lag: number; currency: Currency }[] = [
  { lag: 2, currency: REAL },
  { lag: -1, currency: REAL },
  { lag: 0, currency: DOLLAR },
];

export function planBankPayments(draw: Draw, records: number): BankPayments {
  const share = (fraction: number) => Math.round(records * fraction);
  const payments = createLayout({
    sameDay: share(0.636),
    nextDay: share(0.066),
    idMissingInLedger: share(0.02),
    idMissingAtBank: share(0.009),
    tolerance: share(0.018),
    mismatch: share(0.011),
  });
  const ledger = createLayout({
    payments: payments.total,
    only: records - payments.total - BAD_RECORDS,
    bad: BAD_RECORDS,
  });
  const duplicates = share(0.03);
  const fees = share(0.05);
  const bank = createLayout({
    payments: payments.total,
    duplicates,
    fees,
    only: records - payments.total - duplicates - fees - BAD_RECORDS,
    bad: BAD_RECORDS,
  });
  const ledgerSlots = payments.total;
  const feeSlots = ledgerSlots + ledger.count('only') + ledger.count('bad');
  const bankSlots = feeSlots + fees;
  const lattice = createAmountLattice(draw, bankSlots + bank.count('only') + bank.count('bad'));

  /** Keys tell these apart, so many may share one amount; one in forty is money going out. */
  function amountOf(index: number, currency: Currency): number {
    const amount = draw.chance('is popular', index, 0.2)
      ? popularPrice(draw, index, currency)
      : lattice.amount(index, currency);
    return draw.chance('goes out', index, 1 / 40) ? -amount : amount;
  }

  function payment(index: number): BankPayment {
    const { part } = payments.locate(index);
    const currency = part === 'tolerance' ? currencyWithDecimalsOf(draw, index) : currencyOf(draw, index);
    const postedDay = draw.integer('day', index, 0, LAST_DAY - RUN_OUT);
    const amount = amountOf(index, currency);
    const payment: BankPayment = {
      currency,
      ledgerAmount: amount,
      bankAmount: amount,
      postedDay,
      bookedDay: postedDay,
      withoutId: undefined,
      rule: 'end-to-end-id',
      ledgerScenario: 'ledger_bank_candidate',
      bankScenario: 'bank_statement_match_candidate',
    };
    switch (part) {
      case 'sameDay':
        return payment;
      case 'nextDay':
        return { ...payment, bookedDay: postedDay + 1, rule: 'lag' };
      case 'idMissingInLedger':
        return {
          ...payment,
          withoutId: 'ledger',
          rule: 'reference',
          ledgerScenario: 'missing_e2e_uses_reference_fallback',
        };
      case 'idMissingAtBank':
        return {
          ...payment,
          withoutId: 'bank',
          rule: 'reference',
          bankScenario: 'missing_e2e_uses_reference_fallback',
        };
      case 'tolerance': {
        const limit = toleranceOf(currency);
        // A fourth lies exactly on the limit, which still matches.
        const difference = draw.chance('on the limit', index, 0.25) ? limit : draw.integer('off', index, 1, limit);
        return {
          ...payment,
          bankAmount: draw.chance('off below', index, 0.5) ? amount - difference : amount + difference,
          rule: 'reference-tolerance',
          bankScenario: 'amount_tolerance_candidate',
        };
      }
      case 'mismatch': {
        const [ledgerAmount, bankAmount] = lattice.mismatch(index, currency);
        return {
          ...payment,
          ledgerAmount,
          bankAmount,
          rule: undefined,
          bankScenario: 'amount_mismatch_outside_tolerance',
        };
      }
    }
  }

  return {
    ledger,
    bank,
    lattice,
    ledgerSlots,
    feeSlots,
    bankSlots,
    payment,
    duplicatedPayment(duplicate) {
      const fifth = Math.floor(duplicate / 5);
      if (duplicate % 5 === 4 && fifth < payments.count('tolerance')) return payments.start('tolerance') + fifth;
      return duplicate;
    },
    unpaired(side, offset) {
      const isNearMiss = offset % 10 === 0 && offset < Math.min(ledger.count('only'), bank.count('only'));
      const slot = (isNearMiss || side === 'ledger' ? ledgerSlots : bankSlots) + offset;
      const day = draw.integer('day', slot, 1, LAST_DAY - RUN_OUT);
      if (!isNearMiss) return { slot, currency: currencyOf(draw, slot), day };
      const miss = NEAR_MISSES[(offset / 10) % NEAR_MISSES.length];
      if (side === 'ledger' || miss === undefined) return { slot, currency: REAL, day };
      return { slot, currency: miss.currency, day: day + miss.lag };
    },
  };
}
