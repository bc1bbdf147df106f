import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { csv, type Line, load, loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.close());
beforeEach(async () => {
  tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
});

const run = (mode?: 'COMMIT' | 'DRY_RUN') =>
  tenant.done('matching.run', { version: 1, context: 'bank', ...(mode ? { mode } : {}) });

async function sides(left: Line[], right: Line[]) {
  await Promise.all([load(tenant, 'ledger', csv(left)), load(tenant, 'statement', csv(right))]);
}

describe('a run', () => {
  test('matches what the rule says and makes exceptions of the rest', async () => {
    await sides(
      [
        { id: 'l1', amount: '10.00', ref: 'R1' },
        { id: 'l2', amount: '20.00', ref: 'R2' },
        { id: 'l3', amount: '150000', ref: 'R3', date: '2026-01-01' },
      ],
      [
        { id: 'r1', amount: '10', ref: ' r1 ' },
        { id: 'r2', amount: '20.01', ref: 'R2' },
      ],
    );
    expect(await run()).toMatchObject({
      left: 3,
      right: 2,
      matched: 1,
      rules: [{ rule: 'exact', matched: 1, confirmed: 1, proposed: 0 }],
      open: { left: 2, right: 1 },
      exceptions: { FEE_VARIANCE: 2, UNMATCHED: 1 },
    });
    const groups = await tenant.query(
      `SELECT g.rule, g.status, g.confidence, array_agg(t.external_id ORDER BY i.side) AS items
         FROM match_groups g JOIN match_items i ON i.group_id = g.id JOIN transactions t ON t.id = i.transaction_id GROUP BY g.id`,
    );
    expect(groups).toEqual([{ rule: 'exact', status: 'CONFIRMED', confidence: 100, items: ['l1', 'r1'] }]);
    const severities = await tenant.query(
      'SELECT t.external_id, e.severity FROM exceptions e JOIN transactions t ON t.id = e.transaction_id ORDER BY t.external_id',
    );
    expect(severities).toContainEqual({ external_id: 'l3', severity: 'CRITICAL' });
  });

  test('takes up what an earlier one left open, and closes its exception', async () => {
    await load(tenant, 'ledger', csv([{ id: 'l1', amount: '10', ref: 'R1' }]));
    expect(await run()).toMatchObject({ matched: 0, exceptions: { UNMATCHED: 1 } });
    await load(tenant, 'statement', csv([{ id: 'r1', amount: '10', ref: 'R1' }]));
    expect(await run()).toMatchObject({ left: 1, right: 1, matched: 1, exceptions: {} });
  });

  test('does not look at what was settled', async () => {
    await loadPairs(tenant, 20);
    expect(await run()).toMatchObject({ left: 20, right: 20, matched: 20 });
    await loadPairs(tenant, 3, 100);
    expect(await run()).toMatchObject({ left: 3, right: 3, matched: 3 });
  });

  test('that is dry reports the same and writes nothing else', async () => {
    await loadPairs(tenant, 5);
    expect(await run('DRY_RUN')).toMatchObject({ mode: 'DRY_RUN', matched: 5, exceptions: {} });
    for (const table of ['match_groups', 'match_items', 'exceptions']) {
      expect(await tenant.query(`SELECT 1 FROM ${table}`)).toEqual([]);
    }
    expect(await tenant.query('SELECT mode FROM match_runs')).toEqual([{ mode: 'DRY_RUN' }]);
    expect(await run()).toMatchObject({ matched: 5 });
  });

  test('with negative amounts matches refund with refund and never with a sale', async () => {
    await sides([{ id: 'l1', amount: '-10.00', ref: 'R1' }], [{ id: 'r1', amount: '10.00', ref: 'R1' }]);
    expect(await run()).toMatchObject({ matched: 0 });
    await load(tenant, 'statement', csv([{ id: 'r2', amount: '-10.00', ref: 'R1' }]));
    expect(await run()).toMatchObject({ matched: 1 });
  });

  test('of an empty context is done and has matched nothing', async () => {
    expect(await run()).toMatchObject({ left: 0, right: 0, matched: 0, exceptions: {} });
  });

  test('gives the same groups whatever the order in which files and records came', async () => {
    const rules = [
      {
        name: 'near',
        priority: 1,
        type: 'TOLERANCE',
        config: { matchReference: false, dateWindowDays: 3, absTolerance: '5' },
      },
    ] as const;
    const lines = (prefix: string) =>
      Array.from({ length: 60 }, (_, i) => ({
        id: `${prefix}${i}`,
        amount: `${100 + ((i * 7) % 13)}.5`,
        ref: '',
        date: `2026-01-${String(10 + (i % 5)).padStart(2, '0')}`,
      }));
    const found: unknown[] = [];
    for (const turn of [0, 1]) {
      tenant = await fleet.tenant();
      await tenant.done('context.apply', { version: 1, context: simpleContext({ rules: [...rules] }) });
      const order = (all: Line[]) => (turn === 0 ? all : all.toReversed());
      for (const half of [0, 1]) {
        const part = (all: Line[]) => all.filter((_, i) => (i + turn) % 2 === half);
        if (turn === 0) await load(tenant, 'ledger', csv(part(order(lines('l')))));
        await load(tenant, 'statement', csv(part(order(lines('r')))));
        if (turn === 1) await load(tenant, 'ledger', csv(part(order(lines('l')))));
      }
      await run();
      found.push(
        await tenant.query(
          `SELECT array_agg(t.external_id ORDER BY i.side) AS items, g.confidence
             FROM match_groups g JOIN match_items i ON i.group_id = g.id JOIN transactions t ON t.id = i.transaction_id
            GROUP BY g.id ORDER BY 1`,
        ),
      );
    }
    expect(found[0]).toHaveLength(60);
    expect(found[1]).toEqual(found[0]);
  });
});

describe('a context', () => {
  test('applied again takes its new rules, and counts its revisions', async () => {
    await sides([{ id: 'l1', amount: '10.00', ref: 'R1' }], [{ id: 'r1', amount: '10.04', ref: 'R1' }]);
    expect(await run()).toMatchObject({ matched: 0 });
    const rules = [{ name: 'close', priority: 1, type: 'TOLERANCE' as const, config: { referenceField: 'ref' } }];
    const applied = await tenant.done('context.apply', { version: 1, context: simpleContext({ rules }) });
    expect(applied).toEqual({ context: 'bank', revision: 2 });
    expect(await run()).toMatchObject({ matched: 1, rules: [{ rule: 'close' }] });
  });

  test('keeps a source that has records: a definition without it, or with it on the other side, is refused', async () => {
    await load(tenant, 'ledger', csv([{ id: 'l1', amount: '10', ref: 'R1' }]));
    const [ledger, statement] = simpleContext().sources as [never, never];
    for (const sources of [
      [{ ...(ledger as object), name: 'renamed' }, statement],
      [
        { ...(ledger as object), side: 'RIGHT' },
        { ...(statement as object), side: 'LEFT' },
      ],
    ]) {
      const end = await tenant.run('context.apply', {
        version: 1,
        context: simpleContext({ sources: sources as never }),
      });
      expect(end).toMatchObject({ state: 'FAILED', error: { code: 'SOURCE_HAS_DATA' } });
    }
    expect(await tenant.query('SELECT name, side FROM sources ORDER BY name')).toEqual([
      { name: 'ledger', side: 'LEFT' },
      { name: 'statement', side: 'RIGHT' },
    ]);
  });
});
