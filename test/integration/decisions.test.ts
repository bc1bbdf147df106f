import { randomUUID } from 'node:crypto';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { csv, load, loadPairs, simpleContext } from '../support/contexts.ts';
import { type HeardEvents, hearEvents } from '../support/events.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';

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

/** By amount and date alone, which is not enough to be sure when they are a day apart. */
const proposing = simpleContext({
  rules: [
    {
      name: 'near',
      priority: 1,
      type: 'TOLERANCE',
      config: { matchReference: false, absTolerance: '1', percentTolerance: '0', dateWindowDays: 3 },
    },
  ],
});

const settle = async () => await tenant.done('matching.run', bank);

/** Two proposed pairs, l1 with r1 and l2 with r2; the groups’ ids. */
async function propose(): Promise<[string, string]> {
  await tenant.done('context.apply', { version: 1, context: proposing });
  const lines = (prefix: string, cents: string, date: string) =>
    csv([
      { id: `${prefix}1`, amount: `20000.${cents}`, ref: `${prefix}1`, date },
      { id: `${prefix}2`, amount: `30.${cents}`, ref: `${prefix}2`, date },
    ]);
  await load(tenant, 'ledger', lines('l', '00', '2026-01-15'));
  await load(tenant, 'statement', lines('r', '50', '2026-01-16'));
  await settle();
  return await groupIds();
}

async function groupIds(): Promise<[string, string]> {
  const rows = await tenant.query('SELECT id::text FROM match_groups ORDER BY id');
  return rows.map(({ id }) => id) as [string, string];
}

const statuses = async () =>
  (await tenant.query('SELECT status FROM match_groups ORDER BY id')).map(({ status }) => status);

async function report(name: 'MATCHED' | 'UNMATCHED' | 'EXCEPTIONS') {
  const { url } = await tenant.done('export.run', { ...bank, report: name });
  return parse(await (await fetch(url)).text(), { columns: true }) as Record<string, string>[];
}

const externalIds = (rows: Record<string, string>[]) => rows.map(({ external_id }) => external_id).sort();

/** What a run must not match with each other, of what is open in the context. */
async function barred(): Promise<string[]> {
  const rows = await tenant.query(
    `SELECT lt.external_id AS left, rt.external_id AS right
       FROM exceptions e
       JOIN match_items_history l ON l.transaction_id = e.transaction_id AND l.side = 'L' AND l.barred
       JOIN match_items_history r ON r.group_id = l.group_id AND r.side = 'R'
       JOIN exceptions o ON o.transaction_id = r.transaction_id
       JOIN transactions lt ON lt.id = l.transaction_id JOIN transactions rt ON rt.id = r.transaction_id
      WHERE e.context_id = (SELECT id FROM contexts WHERE name = 'bank') ORDER BY 1, 2`,
  );
  return rows.map(({ left, right }) => `${left} ${right}`);
}

describe('groups that a run proposed', () => {
  let events: HeardEvents;
  let groups: [string, string];

  beforeEach(async () => {
    events = await hearEvents(tenant);
    groups = await propose();
    return () => events.close();
  });

  test('are confirmed by a person, and each is announced with its transactions', async () => {
    const id = randomUUID();
    const body = { ...bank, groups, decidedBy: 'Maria', reason: 'phoned them' };
    expect(await tenant.done('matching.confirm', body, id)).toEqual({
      context: 'bank',
      status: 'CONFIRMED',
      groups: 2,
      transactions: 4,
    });
    expect(await statuses()).toEqual(['CONFIRMED', 'CONFIRMED']);
    expect(externalIds(await report('EXCEPTIONS'))).toEqual([]);
    expect((await report('MATCHED')).map(({ status }) => status)).toEqual(['CONFIRMED', 'CONFIRMED']);

    const [run] = await tenant.query('SELECT job_id FROM match_runs');
    const items = await tenant.query(
      'SELECT array_agg(transaction_id::text ORDER BY side) AS ids FROM match_items GROUP BY group_id ORDER BY group_id',
    );
    const sent = await events.of(id);
    expect(sent).toMatchObject([
      ...groups.map((matchId, i) => ({
        eventType: 'matching.match_confirmed',
        tenantId: tenant.id,
        contextId: 'bank',
        runId: run.job_id,
        matchId,
        ruleId: 'near',
        transactionIds: items[i].ids,
      })),
      {
        eventType: 'governance.audit_log_created',
        contextId: 'bank',
        action: 'matching.confirm',
        matchIds: groups,
        decidedBy: 'Maria',
        reason: 'phoned them',
      },
      { eventType: 'matching.confirm_completed', result: { groups: 2 } },
    ]);
    expect(new Set(sent.map(({ eventId }) => eventId)).size).toBe(4);
    expect(sent[0]).not.toHaveProperty('truncatedIdCount');
  });

  test('are rejected: their records are open again, each with its exception, and the pair is barred', async () => {
    const id = randomUUID();
    const [group, other] = groups;
    const body = { ...bank, groups: [group], reason: 'another customer' };
    expect(await tenant.done('matching.reject', body, id)).toMatchObject({ status: 'REJECTED', transactions: 2 });
    expect(await statuses()).toEqual(['REJECTED', 'PROPOSED']);
    const exceptions = await report('EXCEPTIONS');
    expect(externalIds(exceptions)).toEqual(['l1', 'r1']);
    for (const exception of exceptions) {
      expect(exception).toMatchObject({ reason: 'UNMATCHED', severity: 'CRITICAL', status: 'OPEN' });
      const hours = (Date.parse(exception.due_at ?? '') - Date.parse(exception.opened_at ?? '')) / 3_600_000;
      expect(Math.round(hours)).toBe(24);
    }
    expect(externalIds(await report('UNMATCHED'))).toEqual(['l1', 'r1']);
    expect((await report('MATCHED')).map(({ group_id }) => group_id)).toEqual([other]);
    expect(await barred()).toEqual(['l1 r1']);
    expect(await events.of(id)).toMatchObject([
      {
        eventType: 'matching.match_unmatched',
        matchId: group,
        ruleId: 'near',
        status: 'REJECTED',
        reason: 'another customer',
        transactionIds: [expect.any(String), expect.any(String)],
      },
      { eventType: 'governance.audit_log_created', action: 'matching.reject', decidedBy: null },
      { eventType: 'matching.reject_completed' },
    ]);
    // With another record it may be matched.
    expect(await settle()).toMatchObject({ left: 1, right: 1, matched: 0 });
    await load(tenant, 'statement', csv([{ id: 'r3', amount: '20000.90', ref: 'r3', date: '2026-01-16' }]));
    expect(await settle()).toMatchObject({ left: 1, right: 2, matched: 1 });
    expect(externalIds(await report('EXCEPTIONS'))).toEqual(['r1']);
  });

  test('are decided about once: a later decision is refused, says what the groups are, and changes nothing', async () => {
    const [first, second] = groups;
    await tenant.done('matching.confirm', { ...bank, groups: [first] });
    const id = randomUUID();
    const again = await tenant.run('matching.confirm', { ...bank, groups: [second, first] }, id);
    expect(again).toMatchObject({
      state: 'FAILED',
      error: { code: 'GROUP_NOT_PROPOSED', message: expect.stringContaining(`${first} is CONFIRMED`) },
    });
    expect(await tenant.run('matching.reject', { ...bank, groups, reason: 'no' })).toMatchObject({
      error: { code: 'GROUP_NOT_PROPOSED', hint: 'A CONFIRMED group is revoked.' },
    });
    expect(await tenant.run('matching.revoke', { ...bank, groups, reason: 'no' })).toMatchObject({
      error: { code: 'GROUP_NOT_CONFIRMED', message: expect.stringContaining(`${second} is PROPOSED`) },
    });
    expect(await statuses()).toEqual(['CONFIRMED', 'PROPOSED']);
    expect(await events.of(id)).toMatchObject([{ eventType: 'matching.confirm_failed' }]);
    expect(await tenant.query('SELECT count(*)::int AS n FROM match_decisions')).toEqual([{ n: 1 }]);
  });

  test('are decided about by one job once, however often its message comes', async () => {
    const id = randomUUID();
    const body = { ...bank, groups, reason: 'no' };
    await tenant.done('matching.reject', body, id);
    await tenant.client.publish('matching.reject', body, { id });
    // Behind it, in the same queue.
    expect(await tenant.run('matching.reject', body)).toMatchObject({ error: { code: 'GROUP_NOT_PROPOSED' } });
    expect((await tenant.client.read(id))?.state).toBe('SUCCEEDED');
    expect(await tenant.query('SELECT count(*)::int AS n FROM match_decisions')).toEqual([{ n: 2 }]);
    expect((await events.of(id)).filter(({ eventType }) => eventType === 'matching.match_unmatched')).toHaveLength(2);
  });

  test('belong to their context and their tenant', async () => {
    await tenant.done('context.apply', { version: 1, context: { ...proposing, name: 'another' } });
    const stranger = await fleet.tenant();
    await stranger.done('context.apply', { version: 1, context: proposing });
    for (const end of [
      await tenant.run('matching.confirm', { ...bank, context: 'another', groups }),
      await stranger.run('matching.confirm', { ...bank, groups }),
    ]) {
      expect(end).toMatchObject({ state: 'FAILED', error: { code: 'GROUP_NOT_FOUND' } });
    }
    expect(await tenant.run('matching.confirm', { ...bank, context: 'nowhere', groups })).toMatchObject({
      error: { code: 'CONTEXT_NOT_FOUND' },
    });
    expect(await statuses()).toEqual(['PROPOSED', 'PROPOSED']);
  });

  test('are not decided about while a run matches the context: the job waits, and no attempt is charged', async () => {
    await load(tenant, 'ledger', csv([{ id: 'l3', amount: '1.00', ref: 'R3' }]));
    await load(tenant, 'statement', csv([{ id: 'r3', amount: '1.00', ref: 'R3' }]));
    const held = await tenant.hold('match_groups');
    const run = await tenant.client.publish('matching.run', bank);
    await until(held.waiting);
    const id = await tenant.client.publish('matching.confirm', { ...bank, groups });
    const waiting = await until(async () => {
      const job = await tenant.client.read(id);
      return job?.state === 'WAITING' ? job : undefined;
    });
    expect(waiting).toMatchObject({ attempt: 0, error: { code: 'CONTEXT_BUSY' } });
    await held.release();
    expect(await tenant.client.follow(run)).toMatchObject({ state: 'SUCCEEDED' });
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { groups: 2 } });
    expect((await tenant.client.read(id))?.attempt).toBe(1);
  });
});

describe('a confirmed group', () => {
  let group: string;

  beforeEach(async () => {
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(tenant, 1);
    await settle();
    [group] = await groupIds();
  });

  test('is revoked: its items are history, its records open, the pair barred, and all of it is announced', async () => {
    const events = await hearEvents(tenant);
    const id = randomUUID();
    const body = { ...bank, groups: [group], reason: 'posted twice', decidedBy: 'Jo' };
    expect(await tenant.done('matching.revoke', body, id)).toMatchObject({ status: 'REVOKED', transactions: 2 });
    expect(await tenant.query('SELECT FROM match_items')).toEqual([]);
    expect(await tenant.query('SELECT group_id::text, side, amount FROM match_items_history ORDER BY side')).toEqual([
      { group_id: group, side: 'L', amount: '1.10000000' },
      { group_id: group, side: 'R', amount: '1.10000000' },
    ]);
    expect(await report('MATCHED')).toEqual([]);
    expect(externalIds(await report('EXCEPTIONS'))).toEqual(['l1', 'r1']);
    expect(await barred()).toEqual(['l1 r1']);
    expect(await tenant.query('SELECT status, reason, decided_by, job_id FROM match_decisions')).toEqual([
      { status: 'REVOKED', reason: 'posted twice', decided_by: 'Jo', job_id: id },
    ]);
    expect(await events.of(id)).toMatchObject([
      { eventType: 'matching.match_unmatched', matchId: group, status: 'REVOKED', reason: 'posted twice' },
      { eventType: 'governance.audit_log_created', action: 'matching.revoke', decidedBy: 'Jo' },
      { eventType: 'matching.revoke_completed' },
    ]);
    await events.close();
    expect(await settle()).toMatchObject({ left: 1, right: 1, matched: 0 });
  });

  test('that may be matched again is, by the next run', async () => {
    await tenant.done('matching.revoke', { ...bank, groups: [group], reason: 'wrong rules', rematch: true });
    expect(await barred()).toEqual([]);
    expect(await settle()).toMatchObject({ left: 1, right: 1, matched: 1, open: { left: 0, right: 0 } });
    expect(await statuses()).toEqual(['REVOKED', 'CONFIRMED']);
    expect((await report('MATCHED')).map(({ status }) => status)).toEqual(['CONFIRMED']);
    expect(await report('EXCEPTIONS')).toEqual([]);
  });
});

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
