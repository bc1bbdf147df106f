import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { csv, load, loadPairs, simpleContext } from '../support/contexts.ts';
import { type HeardEvents, hearEvents } from '../support/events.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
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

const groupIds = () => groupIdsOf(tenant);
const report = (name: Parameters<typeof reportOf>[1]) => reportOf(tenant, name);
const barred = () => barredOf(tenant);

const statuses = async () =>
  (await tenant.query('SELECT status FROM match_groups ORDER BY id')).map(({ status }) => status);

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
