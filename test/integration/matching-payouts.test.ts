import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { load } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { madePayouts, type PayoutLine, payoutContext, payoutCsv } from '../support/payouts.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.close());
beforeEach(async () => {
  tenant = await fleet.tenant();
});

const apply = (overrides: Parameters<typeof payoutContext>[0] = {}) =>
  tenant.done('context.apply', { version: 1, context: payoutContext(overrides) });

const run = (mode: 'COMMIT' | 'DRY_RUN' = 'COMMIT') =>
  tenant.done('matching.run', { version: 1, context: 'bank', mode });

async function loadBoth(payouts: PayoutLine[], parts: PayoutLine[]) {
  await Promise.all([load(tenant, 'statement', payoutCsv(payouts)), load(tenant, 'ledger', payoutCsv(parts))]);
}

async function report(name: 'MATCHED' | 'UNMATCHED') {
  const { url } = await tenant.done('export.run', { version: 1, context: 'bank', report: name });
  return parse(await (await fetch(url)).text(), { columns: true }) as Record<string, string>[];
}

const cents = (amount: string | undefined) => Math.round(Number(amount ?? 0) * 100);

describe('payouts and what they are the sum of', () => {
  test('are settled as they were made, and what is left open says why', async () => {
    const { payouts, parts, truth } = madePayouts(12);
    await apply();
    await loadBoth(payouts, parts);
    const byRule = (rule: string) => [...truth.groups.values()].filter((group) => group.rule === rule).length;
    const openOn = (side: readonly PayoutLine[]) => side.filter(({ id }) => truth.open.has(id)).length;
    const expected = {
      left: payouts.length,
      right: parts.length,
      matched: truth.groups.size,
      rules: ['settlement', 'listed', 'seller'].map((rule) => ({ rule, matched: byRule(rule) })),
      open: { left: openOn(payouts), right: openOn(parts) },
    };
    expect(await run('DRY_RUN')).toMatchObject({ ...expected, exceptions: {} });
    expect(await tenant.query('SELECT FROM match_groups')).toEqual([]);
    const reasons: Record<string, number> = {};
    for (const { reason } of truth.open.values()) reasons[reason] = (reasons[reason] ?? 0) + 1;
    expect(await run()).toMatchObject({ ...expected, exceptions: reasons });

    const groups = new Map<string, Record<string, string>[]>();
    for (const line of await report('MATCHED')) {
      const id = line.group_id as string;
      groups.set(id, [...(groups.get(id) ?? []), line]);
    }
    const found = new Map<string, unknown>();
    for (const [first, ...others] of groups.values()) {
      const lines = [first, ...others] as Record<string, string>[];
      const ids = lines.map((line) => line.right_external_id as string);
      found.set(first?.left_external_id as string, { rule: first?.rule, parts: ids.sort() });
      expect(lines.map((line) => line.group_line)).toEqual(lines.map((_, i) => `${i + 1}`));
      expect(others.every((line) => line.left_external_id === '' && line.difference === '')).toBe(true);
      const sum = lines.reduce((total, line) => total + cents(line.right_allocated), 0);
      expect(sum).toBe(cents(first?.left_allocated));
      expect(first).toMatchObject({ difference: '0.00', left_allocated: first?.left_amount });
    }
    expect(found).toEqual(truth.groups);

    const open = await report('UNMATCHED');
    const said = open.map(({ external_id, reason, gap }) => [
      external_id,
      gap === '' ? { reason } : { reason, gap: cents(gap) },
    ]);
    expect(new Map(said as [string, { reason: string }][])).toEqual(truth.open);
  });

  test('that came too early are settled by the run that finds the missing order', async () => {
    await apply();
    const bound = { settlement: 'S1' };
    await loadBoth([{ id: 'p', cents: 5000, ...bound }], [{ id: 'o1', cents: 3000, ...bound }]);
    expect(await run()).toMatchObject({ matched: 0, exceptions: { SPLIT_INCOMPLETE: 2 } });
    expect(await tenant.query('SELECT details FROM exceptions')).toEqual([
      { details: { rule: 'settlement', gap: '20' } },
      { details: { rule: 'settlement', gap: '20' } },
    ]);
    await load(tenant, 'ledger', payoutCsv([{ id: 'o2', cents: 2000, ...bound }]));
    expect(await run()).toMatchObject({ left: 1, right: 2, matched: 1, exceptions: {} });
  });

  test('take what there is where that is allowed, and say how much of them that was', async () => {
    const config = { groupBy: ['settlement'], allowPartial: true };
    await apply({ rules: [{ name: 'partial', priority: 1, type: 'EXACT', config }] });
    const bound = { settlement: 'S1' };
    await loadBoth(
      [{ id: 'p', cents: 10_000, ...bound }],
      [4000, 5500].map((each) => ({ id: `o${each}`, cents: each, ...bound })),
    );
    expect(await run()).toMatchObject({ matched: 1, open: { left: 0, right: 0 } });
    const [first, second] = await report('MATCHED');
    expect(first).toMatchObject({ left_amount: '100.00', left_allocated: '95.00', right_allocated: '40.00' });
    expect(second).toMatchObject({ left_external_id: '', right_external_id: 'o5500', right_allocated: '55.00' });
  });
});

test('many payouts and many orders are one group in an N:M context, each record on one line of it', async () => {
  const config = { groupBy: ['seller', 'date'] };
  await apply({ type: 'N:M', rules: [{ name: 'day', priority: 1, type: 'EXACT', config }] });
  const seller = { seller: 'A' };
  await loadBoth(
    [
      { id: 'p1', cents: 7000, ...seller },
      { id: 'p2', cents: 2500, ...seller },
    ],
    [6000, 4000, -500].map((each, i) => ({ id: `o${i}`, cents: each, ...seller })),
  );
  expect(await run()).toMatchObject({ matched: 1, open: { left: 0, right: 0 } });
  const lines = await report('MATCHED');
  expect(
    lines.map((line) => [line.left_external_id, line.right_external_id, line.difference, line.days_apart]),
  ).toEqual([
    ['p1', 'o0', '0.00', '0'],
    ['p2', 'o1', '', ''],
    ['', 'o2', '', ''],
  ]);
});

test('a 1:1 context refuses rules that allocate, and a run sums up amounts in the base currency where it is told to', async () => {
  const config = { groupBy: ['settlement'], allocationUseBaseAmount: true, matchCurrency: false };
  const rules = [{ name: 'base', priority: 1, type: 'EXACT' as const, config }];
  await expect(apply({ type: '1:1', rules })).rejects.toThrow(/groupBy needs a context of type 1:N or N:M/);
  const fieldMap = { external_id: 'id', amount: 'amount', currency: 'currency', date: 'date', amount_base: 'base' };
  const sources = payoutContext().sources.map((source) => ({ ...source, fieldMap }));
  await apply({ rules, sources });
  const file = (...rows: string[]) => ['id,amount,currency,date,base,settlement', ...rows, ''].join('\n');
  await Promise.all([
    load(tenant, 'statement', file('p1,10.00,EUR,2026-03-02,10.00,S1')),
    load(
      tenant,
      'ledger',
      file('o1,8.00,USD,2026-03-02,7.00,S1', 'o2,3.50,USD,2026-03-02,3.00,S1', 'o3,1.00,USD,2026-03-02,,S1'),
    ),
  ]);
  expect(await run()).toMatchObject({ matched: 1, exceptions: { MISSING_BASE_AMOUNT: 1 } });
  const [first] = await report('MATCHED');
  expect(first).toMatchObject({
    left_amount: '10.00',
    right_amount: '8.00',
    right_allocated: '7.00',
    difference: '0.00',
  });
});
