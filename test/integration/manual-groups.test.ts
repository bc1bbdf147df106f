import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { csv, load, simpleContext } from '../support/contexts.ts';
import { hearEvents } from '../support/events.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { barredOf, externalIds, groupIdsOf, reportOf } from '../support/groups.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.close());
beforeEach(async () => {
  tenant = await fleet.tenant();
});

const bank = { version: 1, context: 'bank' } as const;
const settle = async () => await tenant.done('matching.run', bank);
const groupIds = () => groupIdsOf(tenant);
const report = (name: Parameters<typeof reportOf>[1]) => reportOf(tenant, name);
const barred = () => barredOf(tenant);

describe('a person’s own group', () => {
  const records = (source: string, ...ids: string[]) => ids.map((externalId) => ({ source, externalId }));

  beforeEach(async () => {
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
    await load(
      tenant,
      'ledger',
      csv([
        { id: 'sale', amount: '100.00', ref: 'A' },
        { id: 'refund', amount: '-20.5', ref: 'B' },
        { id: 'paired', amount: '7', ref: 'P' },
        { id: 'dollars', amount: '79.5', ref: 'D', currency: 'USD' },
      ]),
    );
    await load(
      tenant,
      'statement',
      csv([
        { id: 'payout', amount: '79.50', ref: 'X' },
        { id: 'partner', amount: '7', ref: 'P' },
        { id: 'fee', amount: '-0.30', ref: 'F' },
      ]),
    );
    await settle();
  });

  test('of records that balance is confirmed, announced and exported, and its exceptions are gone', async () => {
    const events = await hearEvents(tenant);
    const id = randomUUID();
    const body = {
      ...bank,
      left: records('ledger', 'sale', 'refund'),
      right: records('statement', 'payout'),
      decidedBy: 'Maria',
    };
    const result = await tenant.done('matching.manual', body, id);
    expect(result).toEqual({ context: 'bank', matchId: expect.any(String), gap: '0' });
    expect(externalIds(await report('EXCEPTIONS'))).toEqual(['dollars', 'fee']);
    const rows = (await report('MATCHED')).filter(({ group_id }) => group_id === result.matchId);
    expect(rows).toMatchObject([
      { rule: 'manual', status: 'CONFIRMED', confidence: '100', right_external_id: 'payout', difference: '0.00' },
      { right_external_id: '' },
    ]);
    expect(rows.map(({ left_external_id }) => left_external_id).sort()).toEqual(['refund', 'sale']);
    const ids = await tenant.query(
      `SELECT t.id::text FROM transactions t WHERE external_id IN ('sale', 'refund', 'payout')
        ORDER BY array_position(ARRAY['sale', 'refund', 'payout'], external_id)`,
    );
    expect(await events.of(id)).toMatchObject([
      {
        eventType: 'matching.match_confirmed',
        runId: id,
        matchId: result.matchId,
        ruleId: 'manual',
        confidence: 100,
        transactionIds: ids.map((row) => row.id),
      },
      { eventType: 'governance.audit_log_created', action: 'matching.manual', matchIds: [result.matchId] },
      { eventType: 'matching.manual_completed' },
    ]);
    await events.close();
    // Nothing of it is open for a run, and it can be taken back.
    expect(await settle()).toMatchObject({ left: 1, right: 1, matched: 0 });
    await tenant.done('matching.revoke', { ...bank, groups: [result.matchId], reason: 'mixed up' });
    expect(await barred()).toEqual(['refund payout', 'sale payout']);
    expect(await settle()).toMatchObject({ left: 3, right: 2 });
  });

  test('that does not balance needs a reason, which is kept; without one the gap is said', async () => {
    const body = { ...bank, left: records('ledger', 'sale', 'refund'), right: records('statement', 'payout', 'fee') };
    expect(await tenant.run('matching.manual', body)).toMatchObject({
      state: 'FAILED',
      error: {
        code: 'MATCH_UNBALANCED',
        message: 'The left records come to 79.50 EUR, the right ones to 79.20 EUR: the gap is 0.30 EUR',
      },
    });
    expect(await tenant.query(`SELECT FROM match_groups WHERE rule = 'manual'`)).toEqual([]);
    expect(await tenant.done('matching.manual', { ...body, reason: 'bank fee' })).toMatchObject({ gap: '0.3' });
    expect(await tenant.query('SELECT status, reason FROM match_decisions')).toEqual([
      { status: 'CONFIRMED', reason: 'bank fee' },
    ]);
  });

  test('of several currencies can’t balance', async () => {
    const body = { ...bank, left: records('ledger', 'dollars'), right: records('statement', 'payout') };
    expect(await tenant.run('matching.manual', body)).toMatchObject({
      error: { code: 'MATCH_UNBALANCED', message: expect.stringContaining('USD, EUR') },
    });
    expect(await tenant.done('matching.manual', { ...body, reason: 'at par' })).toMatchObject({ gap: null });
  });

  test('takes only open records of its context, each on its own side, and says which are not', async () => {
    await load(tenant, 'statement', csv([{ id: 'new', amount: '100', ref: 'N' }]));
    await tenant.done('context.apply', {
      version: 1,
      context: simpleContext({
        name: 'another',
        sources: simpleContext().sources.map((source) => ({ ...source, name: `${source.name}-2` })),
      }),
    });
    const [sale] = [records('ledger', 'sale')];
    const [pair] = await groupIds();
    const refused = async (left: typeof sale, right: typeof sale, context = 'bank') => {
      const end = await tenant.run('matching.manual', { version: 1, context, left, right, reason: 'whatever' });
      return end.state === 'FAILED' ? [end.error.code, end.error.message] : end.state;
    };
    expect(await refused(sale, records('statement', 'payout', 'absent', 'void'))).toEqual([
      'TRANSACTION_NOT_FOUND',
      'The context bank has no "absent" of statement, "void" of statement',
    ]);
    expect(await refused(records('ledger-2', 'sale'), records('statement', 'payout'))).toEqual([
      'TRANSACTION_NOT_FOUND',
      'The context bank has no "sale" of ledger-2',
    ]);
    expect(await refused(sale, records('statement', 'payout'), 'another')).toMatchObject(['TRANSACTION_NOT_FOUND', {}]);
    expect(await refused(sale, records('ledger', 'refund'))).toEqual([
      'TRANSACTION_ON_OTHER_SIDE',
      'On the other side are "refund" of ledger',
    ]);
    expect(await refused(sale, records('statement', 'partner', 'new'))).toEqual([
      'TRANSACTION_NOT_OPEN',
      `Not open are "partner" of statement (in group ${pair}), "new" of statement (no run has seen it yet)`,
    ]);
    expect(externalIds(await report('EXCEPTIONS'))).toEqual(['dollars', 'fee', 'payout', 'refund', 'sale']);
    expect(await groupIds()).toEqual([pair]);
  });

  test('takes what was rejected before', async () => {
    const [group] = await groupIds();
    await tenant.done('matching.revoke', { ...bank, groups: [group], reason: 'not sure' });
    const body = { ...bank, left: records('ledger', 'paired'), right: records('statement', 'partner') };
    expect(await tenant.done('matching.manual', body)).toMatchObject({ gap: '0' });
    expect(await barred()).toEqual([]);
  });

  test('of the same records is made once when two persons make it at the same time', async () => {
    const body = { ...bank, left: records('ledger', 'sale', 'refund'), right: records('statement', 'payout') };
    const ends = await Promise.all([tenant.run('matching.manual', body), tenant.run('matching.manual', body)]);
    expect(ends.map(({ state }) => state).sort()).toEqual(['FAILED', 'SUCCEEDED']);
    expect(ends.find(({ state }) => state === 'FAILED')).toMatchObject({ error: { code: 'TRANSACTION_NOT_OPEN' } });
  });
});

test('of a group with more transactions than an event names, the rest is counted', async () => {
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  const lines = (prefix: string, count: number, amount: string) =>
    csv(Array.from({ length: count }, (_, i) => ({ id: `${prefix}${i}`, amount, ref: `${prefix}${i}` })));
  await load(tenant, 'ledger', lines('l', 600, '1'));
  await load(tenant, 'statement', lines('r', 600, '1'));
  await settle();
  const events = await hearEvents(tenant);
  const id = randomUUID();
  const side = (source: string, prefix: string) =>
    Array.from({ length: 600 }, (_, i) => ({ source, externalId: `${prefix}${i}` }));
  const { matchId } = await tenant.done(
    'matching.manual',
    { ...bank, left: side('ledger', 'l'), right: side('statement', 'r') },
    id,
  );
  const revocation = randomUUID();
  await tenant.done('matching.revoke', { ...bank, groups: [matchId], reason: 'a trial' }, revocation);
  for (const job of [id, revocation]) {
    const [about] = await events.of(job);
    expect(about?.transactionIds).toHaveLength(1000);
    expect(about?.truncatedIdCount).toBe(200);
  }
  await events.close();
});
