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

/** A sale that both sides have. Amounts in minor units, days as in the calendar. */
export interface CardSale {
  /** Which of the acquirer's records it is settled by, as an index of the acquirer's layout. */
  settledBy: number;
  currency: Currency;
  ledgerAmount: number;
  acquirerAmount: number;
  occurredDay: number;
  settledDay: number;
  /** Undefined: the two amounts are too far apart. */
  rule: 'exact' | 'tolerance' | 'lag' | undefined;
  scenario: string;
}

/** What only one side has. */
export interface UnpairedRecord {
  /** What gives it its keys. */
  slot: number;
  currency: Currency;
  /** In minor units. */
  amount: number;
  day: number;
}

/** Who has which records, and what becomes of them; nothing about how they are written. */
export interface CardSales {
  ledger: Layout<'sales' | 'chargebacks' | 'only' | 'bad'>;
  acquirer: Layout<'sales' | 'duplicates' | 'only' | 'bad'>;
  lattice: AmountLattice;
  /** The first slot of what only the ledger, and of what only the acquirer has. */
  ledgerSlots: number;
  acquirerSlots: number;
  sale(index: number): CardSale;
  /** The sale that a chargeback takes back: an exact one, settled and without duplicates. */
  chargedBackSale(chargeback: number): number;
  /** The sale that a duplicate repeats: mostly an exact one, now and then one settled by another rule. */
  duplicatedSale(duplicate: number): number;
  /** Days by which a duplicate is settled after what it repeats. With 0, the two differ in nothing but their id. */
  duplicateDelay(duplicate: number): 0 | 1;
  unpaired(side: 'ledger' | 'acquirer', offset: number): UnpairedRecord;
}

/** Days at the end of the period in which nothing begins, so that every lag ends within it. */
const RUN_OUT = 14;

/** Near misses: the same amount on the other side, but settled too late, before it occurred, or in another currency. */
const NEAR_MISSES: readonly { wait: number; currency: Currency }[] = [
  { wait: 5, currency: REAL },
  { wait: -1, currency: REAL },
  { wait: 2, currency: DOLLAR },
];

export function planCardSales(draw: Draw, records: number): CardSales {
  const share = (fraction: number) => Math.round(records * fraction);
  const sales = createLayout({
    exact: share(0.72),
    feeVariance: share(0.018),
    tolerance: share(0.019),
    lag: share(0.047),
    mismatch: share(0.016),
  });
  const chargebacks = share(0.06);
  const duplicates = share(0.03);
  const ledger = createLayout({
    sales: sales.total,
    chargebacks,
    only: records - sales.total - chargebacks - BAD_RECORDS,
    bad: BAD_RECORDS,
  });
  const acquirer = createLayout({
    sales: sales.total,
    duplicates,
    only: records - sales.total - duplicates - BAD_RECORDS,
    bad: BAD_RECORDS,
  });
  const ledgerSlots = sales.total;
  const acquirerSlots = ledgerSlots + ledger.count('only') + ledger.count('bad');
  const lattice = createAmountLattice(draw, acquirerSlots + acquirer.count('only') + acquirer.count('bad'));

  // The first half of the lag's sales come in twos of equal amount, see `lagSale`.
  const twins = Math.floor(sales.count('lag') / 4) * 2;

  const duplicateDelay = (duplicate: number) => (duplicate % 3 === 0 ? 0 : 1);

  /** Now and then the duplicate has the smaller id: it is settled later, and being nearer decides before the id. */
  const isDuplicateFirst = (sale: number) => sale < duplicates && sale % 3 === 1 && sale % 5 < 3;

  function exactSale(index: number, part: 'exact' | 'feeVariance'): CardSale {
    const currency = currencyOf(draw, index);
    const amount = draw.chance('is popular', index, 0.1)
      ? popularPrice(draw, index, currency)
      : lattice.amount(index, currency);
    const occurredDay = draw.integer('day', index, 0, LAST_DAY - RUN_OUT);
    // One in fifty waits for days, which the exact rule must not mind.
    const wait = draw.chance('waits long', index, 1 / 50) ? 12 : draw.integer('wait', index, 1, 3);
    return {
      settledBy: part === 'exact' && isDuplicateFirst(index) ? acquirer.start('duplicates') + index : index,
      currency,
      ledgerAmount: amount,
      acquirerAmount: amount,
      occurredDay,
      settledDay: occurredDay + wait,
      rule: 'exact',
      scenario: part === 'exact' ? 'exact_order_and_authorization_match' : 'fee_variance_candidate',
    };
  }

  function toleranceSale(index: number): CardSale {
    const currency = currencyWithDecimalsOf(draw, index);
    const amount = lattice.amount(index, currency);
    const limit = toleranceOf(currency);
    // A fourth lies exactly on the limit, which still matches.
    const difference = draw.chance('on the limit', index, 0.25) ? limit : draw.integer('off', index, 1, limit);
    const occurredDay = draw.integer('day', index, 0, LAST_DAY - RUN_OUT);
    return {
      settledBy: index,
      currency,
      ledgerAmount: amount,
      acquirerAmount: draw.chance('off below', index, 0.5) ? amount - difference : amount + difference,
      occurredDay,
      settledDay: occurredDay + draw.integer('wait', index, 0, 4),
      rule: 'tolerance',
      scenario: 'amount_tolerance_candidate',
    };
  }

  /**
   * A sale that only its amount and the days can settle.
   *
   * Twins have one amount: one occurs on day d and is settled on d + 4, the other occurs and is settled on d + 2.
   * Whoever takes records in the order of their dates pairs the first sale with the second settlement; nearest first
   * gives each its own.
   */
  function lagSale(index: number, offset: number): CardSale {
    const isTwin = offset < twins;
    const isSecond = isTwin && offset % 2 === 1;
    const slot = isSecond ? index - 1 : index;
    const currency = currencyOf(draw, slot);
    const amount = lattice.amount(slot, currency);
    const occurredDay = draw.integer('day', slot, 0, LAST_DAY - RUN_OUT) + (isSecond ? 2 : 0);
    const wait = isTwin ? (isSecond ? 0 : 4) : draw.integer('wait', slot, 0, 4);
    return {
      settledBy: index,
      currency,
      ledgerAmount: amount,
      acquirerAmount: amount,
      occurredDay,
      settledDay: occurredDay + wait,
      rule: 'lag',
      scenario: 'settlement_lag_candidate',
    };
  }

  function mismatchedSale(index: number): CardSale {
    const currency = currencyOf(draw, index);
    const [ledgerAmount, acquirerAmount] = lattice.mismatch(index, currency);
    const occurredDay = draw.integer('day', index, 0, LAST_DAY - RUN_OUT);
    return {
      settledBy: index,
      currency,
      ledgerAmount,
      acquirerAmount,
      occurredDay,
      settledDay: occurredDay + draw.integer('wait', index, 1, 3),
      rule: undefined,
      scenario: 'amount_mismatch_outside_tolerance',
    };
  }

  return {
    ledger,
    acquirer,
    lattice,
    ledgerSlots,
    acquirerSlots,
    duplicateDelay,
    sale(index) {
      const { part, offset } = sales.locate(index);
      if (part === 'tolerance') return toleranceSale(index);
      if (part === 'lag') return lagSale(index, offset);
      if (part === 'mismatch') return mismatchedSale(index);
      return exactSale(index, part);
    },
    chargedBackSale: (chargeback) => sales.count('exact') - 1 - chargeback,
    duplicatedSale(duplicate) {
      const fifth = Math.floor(duplicate / 5);
      if (duplicate % 5 === 3 && twins + fifth < sales.count('lag')) return sales.start('lag') + twins + fifth;
      if (duplicate % 5 === 4 && fifth < sales.count('tolerance')) return sales.start('tolerance') + fifth;
      return duplicate;
    },
    unpaired(side, offset) {
      const slot = (side === 'ledger' ? ledgerSlots : acquirerSlots) + offset;
      const isNearMiss = offset % 10 === 0 && offset < Math.min(ledger.count('only'), acquirer.count('only'));
      // The two of a near miss have the ledger's amount and day, and each its own keys.
      const amountSlot = isNearMiss ? ledgerSlots + offset : slot;
      const currency = isNearMiss ? REAL : currencyOf(draw, slot);
      const amount = lattice.amount(amountSlot, currency);
      const day = draw.integer('day', amountSlot, 1, LAST_DAY - RUN_OUT);
      const miss = NEAR_MISSES[(offset / 10) % NEAR_MISSES.length];
      if (!isNearMiss || side === 'ledger' || miss === undefined) return { slot, currency, amount, day };
      return { slot, currency: miss.currency, amount, day: day + miss.wait };
    },
  };
}
