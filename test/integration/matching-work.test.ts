import { type ContextDefinition, contextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import { matchingRunResult } from '@matcher/shared/jobs/contracts/results.ts';
import { migrate } from '@matcher/shared/postgres/migrate.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import workMatchingRun from '../../workers/matching/run-work.ts';
import { simpleContext } from '../support/contexts.ts';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';

let databases: TestDatabases;
let db: TenantDatabase;
let sources: Record<string, number>;

beforeAll(async () => {
  databases = await openTestDatabases();
  const config = await databases.create();
  await migrate(await databases.connect(config), config.tenantId);
  db = databases.database(config);
});
afterAll(() => databases.close());

type ContextInput = Parameters<typeof contextDefinition.parse>[0];

async function context(overrides: Partial<ContextInput & object> = {}): Promise<void> {
  const definition: ContextDefinition = contextDefinition.parse({ ...simpleContext(), ...overrides });
  await db.query(
    'TRUNCATE contexts, sources, loads, transactions, run_locks, match_runs, match_groups, match_items, match_items_history, exceptions RESTART IDENTITY CASCADE',
  );
  await db.query(`INSERT INTO contexts (name, type, definition) VALUES ('bank', $1, $2)`, [
    definition.type,
    JSON.stringify(definition),
  ]);
  await db.query('INSERT INTO run_locks VALUES (1)');
  sources = {};
  for (const { name, side } of definition.sources) {
    const [row] = await db.query<{ id: number }>(
      `INSERT INTO sources (context_id, name, type, side, field_map) VALUES (1, $1, 'BANK', $2, '{}') RETURNING id`,
      [name, side],
    );
    sources[name] = row?.id as number;
  }
}

interface Loaded {
  id: string;
  amount: string;
  ref?: string;
  date?: string;
  currency?: string;
  base?: string;
  metadata?: object;
}

/** A file's records as one load, with an id of the test's choice: the order of ids need not be that in which loads become visible. */
async function load(source: string, id: number, records: Loaded[]): Promise<void> {
  await db.query(
    'INSERT INTO loads (id, context_id, source_id, job_id, records) OVERRIDING SYSTEM VALUE VALUES ($1, 1, $2, $3, $4)',
    [id, sources[source], `load-${id}`, records.length],
  );
  await db.query(
    `INSERT INTO transactions (id, source_id, external_id, amount, currency, occurred_at, metadata, amount_base)
     SELECT ($1::bigint << 26) + i, $2, r ->> 'id', (r ->> 'amount')::numeric, coalesce(r ->> 'currency', 'EUR'),
            coalesce(r ->> 'date', '2026-01-15')::timestamp AT TIME ZONE 'UTC',
            coalesce(r -> 'metadata', jsonb_build_object('ref', r -> 'ref')), (r ->> 'base')::numeric
       FROM jsonb_array_elements($3) WITH ORDINALITY AS x(r, i)`,
    [id, sources[source], JSON.stringify(records)],
  );
}

const never = { aborted: false, reason: undefined };

async function run(mode: 'COMMIT' | 'DRY_RUN' = 'COMMIT', cancellation: { aborted: boolean; reason: unknown } = never) {
  const stages: string[] = [];
  const control = {
    cancellation,
    progress: ({ stage }: { stage: string }) => void (stages.at(-1) === stage || stages.push(stage)),
  };
  const task = { jobId: crypto.randomUUID(), context: 'bank', mode };
  const result = await db.transaction((tx) => workMatchingRun(tx, task, control));
  expect(matchingRunResult.parse(result)).toEqual(result);
  return { result, stages };
}

const pairs = () =>
  db.query<{ pair: string[]; amounts: string[] }>(
    `SELECT array_agg(t.external_id ORDER BY i.side) AS pair, array_agg(trim_scale(i.amount)::text ORDER BY i.side) AS amounts
       FROM match_items i JOIN transactions t ON t.id = i.transaction_id GROUP BY i.group_id ORDER BY i.group_id`,
  );
const openIds = async () =>
  (
    await db.query<{ external_id: string }>(
      'SELECT external_id FROM exceptions JOIN transactions ON id = transaction_id ORDER BY id',
    )
  ).map(({ external_id }) => external_id);

describe('a run', () => {
  beforeEach(() => context());

  test('says how long its stages took, what it held in memory, and what it is at', async () => {
    await load('ledger', 1, [{ id: 'l1', amount: '1', ref: 'a' }]);
    await load('statement', 2, [{ id: 'r1', amount: '1', ref: 'a' }]);
    const { result, stages } = await run();
    expect(stages).toEqual(['reading', 'matching', 'explaining', 'writing']);
    expect(result).toMatchObject({ matched: 1, limited: 0 });
    expect(result.memory.columns).toBeGreaterThan(2 * 8);
    expect(result.memory.peak).toBeGreaterThan(1_000_000);
    expect(result.samples).toBeUndefined();
    expect(await db.query('SELECT statistics FROM match_runs')).toEqual([{ statistics: result }]);
  });

  test('writes amounts of 20 digits exactly, and small ones beside them', async () => {
    const amounts = ['99999999999999999999', '-999999999999.99999999', '0.00000001', '45035996.27370497', '-12.5', '0'];
    const records = (prefix: string) => amounts.map((amount, i) => ({ id: `${prefix}${i}`, amount, ref: `R${i}` }));
    await load('ledger', 1, records('l'));
    await load('statement', 2, records('r'));
    expect((await run()).result).toMatchObject({ matched: 6 });
    expect((await pairs()).map(({ amounts: [left, right] }) => [left, right]).sort()).toEqual(
      amounts.map((amount) => [amount, amount]).sort(),
    );
  });

  test('writes in the order of ids whatever the order in which loads became visible', async () => {
    await load('ledger', 7, [
      { id: 'l1', amount: '1', ref: 'a' },
      { id: 'l2', amount: '2', ref: 'b' },
      { id: 'l3', amount: '3', ref: 'never' },
    ]);
    await run();
    await load('statement', 3, [{ id: 'r1', amount: '1', ref: 'a' }]);
    await load('ledger', 4, [{ id: 'l4', amount: '4', ref: 'd' }]);
    await load('statement', 9, [
      { id: 'r4', amount: '4', ref: 'd' },
      { id: 'r5', amount: '5', ref: 'e' },
    ]);
    expect((await run()).result).toMatchObject({ left: 4, right: 3, matched: 2, exceptions: { UNMATCHED: 3 } });
    expect((await pairs()).map(({ pair }) => pair).sort()).toEqual([
      ['l1', 'r1'],
      ['l4', 'r4'],
    ]);
    expect(await openIds()).toEqual(['l2', 'l3', 'r5']);
    expect((await run()).result).toMatchObject({ left: 2, right: 1, matched: 0, exceptions: { UNMATCHED: 3 } });
  });

  test('leaves an exception alone about which there is nothing new', async () => {
    await load('ledger', 1, [
      { id: 'l1', amount: '1', ref: 'a' },
      { id: 'l2', amount: '2', ref: 'b' },
    ]);
    await run();
    await db.query(`UPDATE exceptions SET status = 'ASSIGNED'`);
    const versions = () =>
      db.query('SELECT transaction_id, xmin, status, reason, due_at FROM exceptions ORDER BY transaction_id');
    const before = await versions();
    await load('statement', 2, [{ id: 'r2', amount: '2.5', ref: 'b' }]);
    await run();
    const after = await versions();
    expect(after[0]).toEqual(before[0]);
    expect(after[1]).toMatchObject({ reason: 'FEE_VARIANCE', status: 'ASSIGNED', due_at: before[1]?.due_at });
  });

  test('reads many small loads and a large one', async () => {
    const record = (prefix: string, i: number) => ({ id: `${prefix}${i}`, amount: `${i}`, ref: `R${i}` });
    const count = 21_000;
    await load(
      'ledger',
      1,
      Array.from({ length: count }, (_, i) => record('l', i)),
    );
    for (let part = 0; part < 30; part++) {
      await load(
        'statement',
        2 + part,
        Array.from({ length: count / 30 }, (_, i) => record('r', part * (count / 30) + i)),
      );
    }
    expect((await run()).result).toMatchObject({ left: count, right: count, matched: count, exceptions: {} });
    expect(await openIds()).toEqual([]);
  });

  test('that is told to end does so in every stage, and nothing of it is left', async () => {
    await load('ledger', 1, [{ id: 'l1', amount: '1', ref: 'a' }]);
    await load('statement', 2, [{ id: 'r1', amount: '1', ref: 'a' }]);
    /** A run that may go on after so many looks. */
    const runWith = (looks: number) => {
      let left = looks;
      const cancellation = {
        get aborted() {
          return left-- <= 0;
        },
        reason: new Error('told to end'),
      };
      return run('COMMIT', cancellation).catch((error: Error) => error);
    };
    let looks = 0;
    let ended = await runWith(looks);
    while (ended instanceof Error) {
      expect(ended.message).toBe('told to end');
      expect(await db.query('SELECT FROM match_runs')).toEqual([]);
      ended = await runWith(++looks);
    }
    expect(looks).toBeGreaterThan(4);
    expect(ended.result).toMatchObject({ matched: 1 });
  });
});

describe('fields that rules name', () => {
  const rule = (field: string) => ({
    rules: [
      {
        priority: 1,
        type: 'EXACT' as const,
        config: {
          matchFields: [field],
          matchReference: false,
          matchAmount: false,
          matchDate: false,
          matchCurrency: false,
        },
      },
    ],
  });

  test.each<[string, Partial<Loaded>, Partial<Loaded>, Partial<Loaded>]>([
    ['amount', { amount: '10.50' }, { amount: '10.5' }, { amount: '10.05' }],
    ['currency', { currency: 'USD' }, { currency: 'USD' }, { currency: 'EUR' }],
    ['date', { date: '2026-02-28T23:59:59' }, { date: '2026-02-28' }, { date: '2026-03-01' }],
    ['amount_base', { base: '7.10' }, { metadata: { amount_base: '7.1' } }, { base: '7.11' }],
    [
      'it\'s \\ "odd"',
      { metadata: { 'it\'s \\ "odd"': 'x' } },
      { metadata: { 'it\'s \\ "odd"': 'x' } },
      { metadata: {} },
    ],
  ])('are read as their text: %s', async (field, left, same, other) => {
    await context(rule(field));
    await load('ledger', 1, [{ id: 'l1', amount: '1', ...left }]);
    await load('statement', 2, [
      { id: 'r1', amount: '2', ...other },
      { id: 'r2', amount: '3', ...same },
    ]);
    await run();
    expect((await pairs()).map(({ pair }) => pair)).toEqual([['l1', 'r2']]);
  });
});

describe('a dry run', () => {
  const rules = [
    { name: 'exact', priority: 1, type: 'EXACT' as const, config: { referenceField: 'ref', matchDate: false } },
    {
      name: 'near',
      priority: 2,
      type: 'TOLERANCE' as const,
      config: { referenceField: 'ref', absTolerance: '1', percentTolerance: '0', dateWindowDays: 2 },
    },
  ];

  test('shows of each rule the least sure groups, what stays open with what came near, and the exceptions there would be', async () => {
    await context({ rules });
    const same = Array.from({ length: 7 }, (_, i) => ({ amount: `${i + 1}`, ref: `S${i}` }));
    await load('ledger', 1, [
      ...same.map((record, i) => ({ ...record, id: `l${6 - i}` })),
      { id: 'late', amount: '5.00', ref: 'L' },
      { id: 'off', amount: '100', ref: 'O' },
      { id: 'alone', amount: '12345678901234.5', ref: 'X' },
    ]);
    await load('statement', 2, [
      ...same.map((record, i) => ({ ...record, id: `r${6 - i}` })),
      { id: 'later', amount: '5.50', ref: 'L', date: '2026-01-17' },
      { id: 'off too', amount: '90', ref: 'O' },
    ]);
    const { result } = await run('DRY_RUN');
    expect(result).toMatchObject({
      matched: 8,
      open: { left: 2, right: 1 },
      exceptions: { FEE_VARIANCE: 2, UNMATCHED: 1 },
    });
    const { matches = [], open = [] } = result.samples ?? {};
    expect(matches.map(({ rule, left, right }) => [rule, left[0]?.externalId, right[0]?.externalId])).toEqual([
      ...['0', '1', '2', '3', '4'].map((i) => ['exact', `l${i}`, `r${i}`]),
      ['near', 'late', 'later'],
    ]);
    expect(matches.at(-1)).toMatchObject({
      items: 2,
      left: [{ source: 'ledger', amount: '5', currency: 'EUR', date: '2026-01-15T00:00:00.000Z' }],
      right: [{ source: 'statement', amount: '5.5', date: '2026-01-17T00:00:00.000Z' }],
    });
    expect(open.map(({ side, transaction, reason }) => [side, transaction.externalId, reason])).toEqual([
      ['LEFT', 'off', 'FEE_VARIANCE'],
      ['RIGHT', 'off too', 'FEE_VARIANCE'],
      ['LEFT', 'alone', 'UNMATCHED'],
    ]);
    expect(open[0]?.nearMisses).toMatchObject([
      { transaction: { externalId: 'off too', amount: '90' }, apart: ['AMOUNT'] },
    ]);
    expect(open[2]?.transaction.amount).toBe('12345678901234.5');
    expect(await openIds()).toEqual([]);
    expect(await db.query('SELECT FROM loads WHERE taken_by_run IS NOT NULL')).toEqual([]);
    const committed = (await run()).result;
    expect(committed.exceptions).toEqual(result.exceptions);
  });

  test('of wholes and parts says which rule could not settle them, and by how much', async () => {
    const config = { groupBy: ['ref'] };
    await context({ type: '1:N', rules: [{ name: 'bound', priority: 1, type: 'EXACT', config }] });
    await load('ledger', 1, [
      { id: 'p1', amount: '10', ref: 'a' },
      { id: 'p2', amount: '10', ref: 'b' },
    ]);
    await load('statement', 2, [
      ...Array.from({ length: 10 }, (_, i) => ({ id: `o${i}`, amount: '1', ref: 'a' })),
      { id: 'x', amount: '7.5', ref: 'b' },
    ]);
    const { matches = [], open = [] } = (await run('DRY_RUN')).result.samples ?? {};
    expect(matches).toMatchObject([{ rule: 'bound', items: 11, left: [{ externalId: 'p1' }] }]);
    expect(matches[0]?.right).toHaveLength(5);
    expect(open).toMatchObject([
      { side: 'LEFT', transaction: { externalId: 'p2' }, reason: 'SPLIT_INCOMPLETE', rule: 'bound', gap: '2.5' },
      { side: 'RIGHT', transaction: { externalId: 'x' }, reason: 'SPLIT_INCOMPLETE', rule: 'bound', gap: '2.5' },
    ]);
  });
});

test('what a person has rejected or revoked is not brought together again', async () => {
  await context();
  await load('ledger', 1, [{ id: 'l1', amount: '1', ref: 'a' }]);
  await load('statement', 2, [{ id: 'r1', amount: '1', ref: 'a' }]);
  await run();
  await db.query(
    `WITH ended AS (DELETE FROM match_items RETURNING *),
          kept AS (INSERT INTO match_items_history SELECT group_id, transaction_id, side, amount, true FROM ended)
     INSERT INTO exceptions (transaction_id, context_id, reason, severity, due_at) SELECT transaction_id, 1, 'UNMATCHED', 'LOW', now() FROM ended`,
  );
  expect((await run()).result).toMatchObject({ left: 1, right: 1, matched: 0 });
  await load('statement', 3, [{ id: 'r2', amount: '1', ref: 'a' }]);
  expect((await run()).result).toMatchObject({ left: 1, right: 2, matched: 1 });
  expect((await pairs()).map(({ pair }) => pair)).toEqual([['l1', 'r2']]);
});
