import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';

type ContextInput = JobBodyInput<'context.apply'>['context'];

const fieldMap = { external_id: 'id', amount: 'amount', currency: 'currency', date: 'date' };

/** A marketplace's payouts on the bank statement against the orders, refunds and fees that they are the sum of. */
export function payoutContext(overrides: Partial<ContextInput> = {}): ContextInput {
  const within = { side: 'LEFT', listField: 'orders' } as const;
  const unbound = [{ field: 'settlement', operator: 'NOT_EXISTS' }] as const;
  return {
    name: 'bank',
    type: '1:N',
    sources: [
      { name: 'statement', side: 'LEFT', type: 'BANK', fieldMap },
      { name: 'ledger', side: 'RIGHT', type: 'GATEWAY', fieldMap },
    ],
    rules: [
      { name: 'settlement', priority: 1, type: 'EXACT', config: { groupBy: ['settlement'] } },
      { name: 'listed', priority: 2, type: 'EXACT', config: { groupBy: within } },
      {
        name: 'seller',
        priority: 3,
        type: 'DATE_LAG',
        config: {
          matchFields: ['seller'],
          maxDays: 2,
          direction: 'RIGHT_BEFORE_LEFT',
          where: { left: [...unbound], right: [...unbound] },
        },
      },
    ],
    ...overrides,
  };
}

export interface PayoutLine {
  id: string;
  /** In cents. */
  cents: number;
  date?: string;
  settlement?: string;
  seller?: string;
  orders?: string[];
}

export function payoutCsv(lines: readonly PayoutLine[]): string {
  const rows = lines.map(({ id, cents, date = '2026-03-02', settlement = '', seller = '', orders = [] }) =>
    [id, (cents / 100).toFixed(2), 'EUR', date, settlement, seller, orders.join('|')].join(','),
  );
  return ['id,amount,currency,date,settlement,seller,orders', ...rows, ''].join('\n');
}

/** What becomes of the records by construction. */
export interface PayoutTruth {
  /** By the payout: the rule that settles it, and its parts. */
  groups: Map<string, { rule: string; parts: string[] }>;
  /** By the record: the reason, and the gap in cents where there is one. */
  open: Map<string, { reason: string; gap?: number }>;
}

/** The fee of every payout, in cents. */
const FEE = -35;

/** More parts than the search for a subset can go through. */
const TOO_MANY = 60;

/**
 * Payouts of every kind: settled by their settlement's number, by a list of orders, or by seller and date; with an order too many, with one that is
 * missing, with too many to be searched, and without anything. In each, amounts are so different that no other parts come to the same sum.
 */
export function madePayouts(rounds: number): { payouts: PayoutLine[]; parts: PayoutLine[]; truth: PayoutTruth } {
  const payouts: PayoutLine[] = [];
  const parts: PayoutLine[] = [];
  const truth: PayoutTruth = { groups: new Map(), open: new Map() };
  const next = pseudoRandom(7);
  const cents = () => 100 + Math.floor(next() * 9_000_000);
  const sumOf = (lines: readonly PayoutLine[]) => lines.reduce((sum, line) => sum + line.cents, 0);

  /** Orders, of which some were paid back, and the fee. */
  function sales(name: string, count: number, keys: Partial<PayoutLine>): PayoutLine[] {
    const orders = Array.from({ length: count }, (_, i) => ({ id: `${name}-o${i}`, cents: cents(), ...keys }));
    const refunds = orders
      .filter((_, i) => i % 4 === 3)
      .map((order) => ({ ...order, id: `${order.id}-refund`, cents: -Math.ceil(order.cents / 3) }));
    return [...orders, ...refunds, { id: `${name}-fee`, cents: FEE, ...keys }];
  }

  function settled(rule: string, payout: PayoutLine, its: readonly PayoutLine[]) {
    payouts.push(payout);
    truth.groups.set(payout.id, { rule, parts: its.map(({ id }) => id).sort() });
  }

  function leftOpen(reason: string, payout: PayoutLine, its: readonly PayoutLine[]) {
    const gap = payout.cents - sumOf(its);
    payouts.push(payout);
    for (const { id } of [payout, ...its]) truth.open.set(id, { reason, gap });
  }

  for (let round = 0; round < rounds; round++) {
    const day = `2026-03-${String(2 + (round % 20)).padStart(2, '0')}`;
    const name = (kind: string) => `${kind}${round}`;
    const bound = (kind: string) => ({ date: day, settlement: `S-${kind}${round}` });

    const whole = sales(name('whole'), 3 + (round % 9), bound('whole'));
    parts.push(...whole);
    settled('settlement', { id: name('payout-whole'), cents: sumOf(whole), ...bound('whole') }, whole);

    const strays = sales(name('stray'), 6, bound('stray'));
    parts.push(...strays);
    const [stray, ...others] = strays as [PayoutLine, ...PayoutLine[]];
    settled('settlement', { id: name('payout-stray'), cents: sumOf(others), ...bound('stray') }, others);
    truth.open.set(stray.id, { reason: 'UNMATCHED' });

    const listed = sales(name('listed'), 4, { date: '2026-01-01' });
    parts.push(...listed);
    const orders = listed.map(({ id }) => id);
    settled('listed', { id: name('payout-listed'), cents: sumOf(listed), date: day, orders }, listed);

    const seller = { seller: name('seller') };
    const ofSeller = sales(name('seller'), 5, { date: day, ...seller });
    const tooLate = { id: name('late'), cents: cents(), date: '2026-04-20', ...seller };
    parts.push(...ofSeller, tooLate);
    settled('seller', { id: name('payout-seller'), cents: sumOf(ofSeller), date: day, ...seller }, ofSeller);
    truth.open.set(tooLate.id, { reason: 'UNMATCHED' });

    const short = sales(name('short'), 5, bound('short'));
    parts.push(...short);
    leftOpen(
      'SPLIT_INCOMPLETE',
      { id: name('payout-short'), cents: sumOf(short) + 12_345_678, ...bound('short') },
      short,
    );

    payouts.push({ id: name('payout-alone'), cents: cents(), ...bound('alone') });
    parts.push({ id: name('alone'), cents: cents(), ...bound('nothing') });
    truth.open.set(name('payout-alone'), { reason: 'UNMATCHED' });
    truth.open.set(name('alone'), { reason: 'UNMATCHED' });
  }
  const many = sales('many', TOO_MANY, { settlement: 'S-many' });
  parts.push(...many);
  // In the middle of all the sums that its parts can come to, where the search has most to do.
  leftOpen('SEARCH_LIMIT', { id: 'payout-many', cents: Math.round(sumOf(many) / 2), settlement: 'S-many' }, many);
  return { payouts, parts, truth };
}

/** The same numbers from 0 to 1 in every run (mulberry32). */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
