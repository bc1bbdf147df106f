import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { csv, load, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.close());
beforeEach(async () => {
  tenant = await fleet.tenant();
});

const apply = (overrides: Parameters<typeof simpleContext>[0] = {}) =>
  tenant.done('context.apply', { version: 1, context: simpleContext(overrides) });

const run = (mode: 'COMMIT' | 'DRY_RUN' = 'COMMIT') =>
  tenant.done('matching.run', { version: 1, context: 'bank', mode });

/** Exceptions by their transactions' external ids, near misses by theirs. */
async function exceptions(): Promise<Record<string, { reason: string; near: unknown[]; opened: string }>> {
  const rows = await tenant.query(
    `SELECT t.external_id, e.reason, e.opened_at::text AS opened,
            ARRAY(SELECT jsonb_build_array(n.external_id, miss -> 'rule', miss -> 'apart')
                    FROM jsonb_array_elements(e.details -> 'nearMisses') WITH ORDINALITY AS m(miss, i)
                    JOIN transactions n ON n.id = (miss ->> 'transactionId')::bigint ORDER BY i) AS near
       FROM exceptions e JOIN transactions t ON t.id = e.transaction_id`,
  );
  return Object.fromEntries(rows.map(({ external_id, ...rest }) => [external_id, rest]));
}

async function report(name: 'UNMATCHED' | 'EXCEPTIONS') {
  const { url } = await tenant.done('export.run', { version: 1, context: 'bank', report: name });
  return parse(await (await fetch(url)).text(), { columns: true }) as Record<string, string>[];
}

describe('an exception', () => {
  beforeEach(() => apply());

  test('says why its record stayed open, and which records came nearest', async () => {
    const left = [
      { id: 'l1', amount: '10.00', ref: 'R1' },
      { id: 'l2', amount: '20.00', ref: 'R2' },
      { id: 'l3', amount: '30.00', ref: 'R3' },
    ];
    const right = [
      { id: 'r1', amount: '10.00', ref: 'R1' },
      { id: 'r1b', amount: '10.00', ref: 'R1' },
      { id: 'r2', amount: '19.50', ref: 'R2' },
      { id: 'r3', amount: '31.00', ref: 'R3', currency: 'USD' },
    ];
    await Promise.all([load(tenant, 'ledger', csv(left)), load(tenant, 'statement', csv(right))]);
    expect(await run()).toMatchObject({
      matched: 1,
      exceptions: { DUPLICATE_TRANSACTION: 1, FEE_VARIANCE: 2, UNMATCHED: 2 },
    });
    expect(await exceptions()).toMatchObject({
      r1b: { reason: 'DUPLICATE_TRANSACTION', near: [['l1', 'exact', ['TAKEN']]] },
      l2: { reason: 'FEE_VARIANCE', near: [['r2', 'exact', ['AMOUNT']]] },
      r2: { reason: 'FEE_VARIANCE', near: [['l2', 'exact', ['AMOUNT']]] },
      l3: { reason: 'UNMATCHED', near: [['r3', 'exact', ['AMOUNT', 'CURRENCY']]] },
    });
    const rows = await report('EXCEPTIONS');
    expect(rows.find((row) => row.external_id === 'l2')).toMatchObject({
      reason: 'FEE_VARIANCE',
      nearest_source: 'statement',
      nearest_external_id: 'r2',
      nearest_amount: '19.50',
      nearest_currency: 'EUR',
      nearest_date: '2026-01-15T00:00:00Z',
      nearest_rule: 'exact',
      kept_apart: 'AMOUNT',
      gap: '',
    });
    const open = await report('UNMATCHED');
    expect(open.find((row) => row.external_id === 'l3')).toMatchObject({ kept_apart: 'AMOUNT CURRENCY' });
  });

  test('that is known gets its new reason and keeps its opening', async () => {
    await load(tenant, 'ledger', csv([{ id: 'l1', amount: '10.00', ref: 'R1' }]));
    await run();
    const { l1: first } = await exceptions();
    expect(first).toMatchObject({ reason: 'UNMATCHED', near: [] });
    await load(tenant, 'statement', csv([{ id: 'r1', amount: '9.00', ref: 'R1' }]));
    await run();
    expect((await exceptions()).l1).toEqual({
      reason: 'FEE_VARIANCE',
      near: [['r1', 'exact', ['AMOUNT']]],
      opened: first?.opened,
    });
  });

  test('of a dry run is not written', async () => {
    await load(tenant, 'ledger', csv([{ id: 'l1', amount: '10.00', ref: 'R1' }]));
    await run('DRY_RUN');
    expect(await exceptions()).toEqual({});
  });

  test('has no more than three near misses, the nearest first', async () => {
    await load(tenant, 'ledger', csv([{ id: 'l1', amount: '10.00', ref: 'R1' }]));
    const right = [13, 11, 14, 12].map((amount) => ({ id: `r${amount}`, amount: `${amount}`, ref: 'R1' }));
    await load(tenant, 'statement', csv(right));
    await run();
    expect((await exceptions()).l1?.near).toEqual(['r11', 'r12', 'r13'].map((id) => [id, 'exact', ['AMOUNT']]));
  });
});

describe('amounts in the base currency', () => {
  const baseFields = {
    external_id: 'id',
    amount: 'amount',
    currency: 'currency',
    date: 'date',
    amount_base: 'base',
    base_currency: 'base_currency',
    fx_rate: 'rate',
  };
  const file = (...rows: string[]) => ['id,amount,currency,date,base,base_currency,rate,ref', ...rows, ''].join('\n');
  const config = {
    referenceField: 'ref',
    matchAmount: false,
    matchCurrency: false,
    matchDate: false,
    matchBaseAmount: true,
    matchBaseCurrency: true,
  };

  beforeEach(() =>
    apply({
      sources: [
        { name: 'ledger', side: 'LEFT', type: 'LEDGER', fieldMap: baseFields },
        { name: 'statement', side: 'RIGHT', type: 'BANK', fieldMap: baseFields },
      ],
      rules: [{ name: 'base', priority: 1, type: 'EXACT', config }],
    }),
  );

  test('are loaded, compared, and named as the reason where they are missing', async () => {
    const left = file(
      'l1,10.00,USD,2026-01-15,9.50,EUR,0.95,R1',
      'l2,20.00,USD,2026-01-15,,EUR,,R2',
      'l3,30.00,USD,2026-01-15,28.50,,0.000000000000000001,R3',
      'l4,40.00,USD,2026-01-15,38.00,EUR,0.95,R4',
    );
    const right = file(
      'r1,10.00,USD,2026-01-15,9.5,eur,0.950,R1',
      'r2,20.00,USD,2026-01-15,19.00,EUR,0.95,R2',
      'r3,30.00,USD,2026-01-15,28.50,EUR,0.95,R3',
      'r4,40.00,USD,2026-01-15,38.01,EUR,0.95,R4',
    );
    await Promise.all([load(tenant, 'ledger', left), load(tenant, 'statement', right)]);
    expect(
      await tenant.query('SELECT amount_base, base_currency, fx_rate FROM transactions ORDER BY external_id LIMIT 3'),
    ).toEqual([
      { amount_base: '9.50000000', base_currency: 'EUR', fx_rate: '0.950000000000000000' },
      { amount_base: null, base_currency: 'EUR', fx_rate: null },
      { amount_base: '28.50000000', base_currency: null, fx_rate: '0.000000000000000001' },
    ]);
    expect(await run()).toMatchObject({ matched: 1, rules: [{ rule: 'base', matched: 1 }] });
    expect(await exceptions()).toMatchObject({
      l2: { reason: 'MISSING_BASE_AMOUNT' },
      r2: { reason: 'UNMATCHED', near: [['l2', 'base', ['BASE_AMOUNT']]] },
      l3: { reason: 'MISSING_BASE_CURRENCY' },
      l4: { reason: 'UNMATCHED', near: [['r4', 'base', ['BASE_AMOUNT']]] },
    });
  });

  test('that are none are reported and left out, as other amounts are', async () => {
    const end = await load(
      tenant,
      'ledger',
      file(
        'l1,10.00,USD,2026-01-15,9.50,EUR,0.95,R1',
        'l2,10.00,USD,2026-01-15,"9,50",EUR,0.95,R2',
        'l3,10.00,USD,2026-01-15,9.50,XXZ,0.95,R3',
        'l4,10.00,USD,2026-01-15,9.50,EUR,0,R4',
      ),
    );
    expect(end).toMatchObject({
      result: {
        added: 1,
        rejectedSample: [
          { row: 2, field: 'amount_base', code: 'NOT_A_NUMBER' },
          { row: 3, field: 'base_currency', code: 'CURRENCY_UNKNOWN' },
          { row: 4, field: 'fx_rate', code: 'NOT_A_NUMBER' },
        ],
      },
    });
  });

  test('of a loaded record do not change', async () => {
    await load(tenant, 'ledger', file('l1,10.00,USD,2026-01-15,9.50,EUR,0.95,R1'));
    const end = await load(
      tenant,
      'ledger',
      file('l1,10.00,USD,2026-01-15,9.51,EUR,0.95,R1', 'l2,10.00,USD,2026-01-15,9.50,EUR,0.95,R1'),
    );
    expect(end).toMatchObject({ result: { added: 1, rejectedSample: [{ row: 1, code: 'CHANGED_RECORD' }] } });
  });
});
