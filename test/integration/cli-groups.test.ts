import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { csv, load, loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { matcher } from '../support/matcher.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.close());
beforeEach(async () => {
  for (const [name, value] of Object.entries(fleet.environment)) vi.stubEnv(name, value);
  tenant = await fleet.tenant();
  // By amount alone, a day apart: proposed.
  const config = { matchReference: false, dateWindowDays: 3, absTolerance: '0', percentTolerance: '0' };
  const rules = [{ name: 'near', priority: 1, type: 'TOLERANCE' as const, config }];
  await tenant.done('context.apply', { version: 1, context: simpleContext({ rules }) });
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const text = (...args: string[]) => matcher([...args, '--tenant', tenant.id]);

async function json(...args: string[]) {
  const { status, stdout } = await text(...args, '--json');
  return { status, ...JSON.parse(stdout) };
}

const list = async (...args: string[]) => (await json('groups', 'list', '--context', 'bank', ...args)).groups;

/** Two proposed pairs, and an open record on each side that balance together. */
async function propose(): Promise<void> {
  const lines = (prefix: string, date: string) =>
    [1, 2].map((n) => ({ id: `${prefix}${n}`, amount: `${n}0.50`, ref: `${prefix}${n}`, date }));
  await load(
    tenant,
    'ledger',
    csv([
      ...lines('l', '2026-01-15'),
      { id: 'a:1', amount: '5', ref: 'a' },
      { id: 'a2', amount: '2.25', ref: 'a' },
      { id: 'usd', amount: '9', ref: 'u', currency: 'USD' },
    ]),
  );
  await load(
    tenant,
    'statement',
    csv([...lines('r', '2026-01-16'), { id: 'b', amount: '7.25', ref: 'b', text: 'A payout' }]),
  );
  await tenant.done('matching.run', { version: 1, context: 'bank' });
}

describe('groups', () => {
  test('are listed newest first, by status, and shown whole', async () => {
    await propose();
    const found = await list();
    expect(found).toHaveLength(2);
    expect(
      found.toSorted((a: { left: { amount: string } }, b: typeof a) => (a.left.amount < b.left.amount ? -1 : 1)),
    ).toMatchObject(
      [1, 2].map((n) => ({
        status: 'PROPOSED',
        rule: 'near',
        confidence: 85,
        left: { records: 1, amount: `${n}0.5`, currency: 'EUR', first: { source: 'ledger', externalId: `l${n}` } },
        right: { records: 1, amount: `${n}0.5`, first: { source: 'statement', externalId: `r${n}` } },
      })),
    );
    const [newest, oldest] = found.map(({ groupId }: { groupId: string }) => groupId);
    expect(BigInt(newest)).toBeGreaterThan(BigInt(oldest));
    expect(await list('--limit', '1')).toMatchObject([{ groupId: newest }]);
    expect(await list('--status', 'CONFIRMED')).toEqual([]);

    const table = await text('groups', 'list', '--context', 'bank', '--status', 'PROPOSED', '--limit', '2');
    expect(table.status).toBe(0);
    expect(table.stdout).toMatch(/^GROUP +STATUS +RULE +CONFIDENCE +LEFT +RIGHT\n/);
    expect(table.stdout).toMatch(
      new RegExp(`^${oldest} +PROPOSED +near +85 +ledger:l\\d \\d0.5 EUR +statement:r`, 'm'),
    );
    expect(table.stdout).toContain('These are the newest 2; --limit shows more.');
    expect((await text('groups', 'list', '--context', 'bank', '--status', 'REVOKED')).stdout).toBe(
      'There is no such group.\n',
    );

    const shown = await json('groups', 'show', oldest);
    expect(shown).toMatchObject({
      status: 'PROPOSED',
      groupId: oldest,
      context: 'bank',
      scores: { amount: 1, currency: 1, date: 0.75, reference: 0 },
      items: [
        { side: 'LEFT', source: 'ledger' },
        { side: 'RIGHT', source: 'statement', date: '2026-01-16T00:00:00.000Z' },
      ],
      decisions: [],
    });
  });

  test('are read page by page, and none twice', async () => {
    await loadPairs(tenant, 700);
    await tenant.done('matching.run', { version: 1, context: 'bank' });
    const all = await list('--limit', '5000');
    expect(all).toHaveLength(700);
    expect(new Set(all.map(({ groupId }: { groupId: string }) => groupId)).size).toBe(700);
    expect(await list('--limit', '501')).toEqual(all.slice(0, 501));
    expect(await list()).toEqual(all.slice(0, 50));
  });

  test('that are not there are said to be so', async () => {
    expect(await json('groups', 'list', '--context', 'nowhere')).toMatchObject({
      status: 1,
      error: { code: 'CONTEXT_NOT_FOUND' },
    });
    expect(await json('groups', 'show', '67108864')).toMatchObject({ status: 1, error: { code: 'GROUP_NOT_FOUND' } });
    expect(await json('groups', 'show', 'l1')).toMatchObject({ status: 2, error: { code: 'USAGE' } });
    expect(await json('groups', 'list')).toMatchObject({
      status: 2,
      error: { message: expect.stringContaining('--context') },
    });
  });
});

describe('decisions', () => {
  test('confirm, reject and revoke groups, and are shown with them', async () => {
    await propose();
    const [one, other] = (await list()).map(({ groupId }: { groupId: string }) => groupId);
    const bank = ['--context', 'bank', '--wait'];
    const confirmed = await text('confirm', one, ...bank, '--by', 'Maria');
    expect([confirmed.status, confirmed.stdout]).toEqual([0, 'bank: 1 group is CONFIRMED\n']);
    expect(await json('reject', other, ...bank, '--reason', 'another customer')).toMatchObject({
      status: 0,
      state: 'SUCCEEDED',
      result: { status: 'REJECTED', groups: 1, transactions: 2 },
    });
    const revoked = await text('revoke', one, ...bank, '--reason', 'sent back', '--by', 'Jo', '--rematch');
    expect(revoked.stdout).toBe('bank: 1 group is REVOKED; 2 records are open again\n');
    expect(await tenant.query('SELECT group_id::text, barred FROM match_items_history ORDER BY barred')).toEqual([
      { group_id: one, barred: false },
      { group_id: one, barred: false },
      { group_id: other, barred: true },
      { group_id: other, barred: true },
    ]);
    expect(await list()).toMatchObject([
      { groupId: one, status: 'REVOKED', left: { records: 1 } },
      { groupId: other, status: 'REJECTED', right: { records: 1 } },
    ]);
    const shown = await text('groups', 'show', one);
    expect(shown.stdout).toMatch(/^status: +REVOKED$/m);
    expect(shown.stdout).toMatch(/^RIGHT +statement +r\d +\d0.5 +\d0.5 +EUR +2026-01-16T00:00:00Z/m);
    expect(shown.stdout).toMatch(
      /\nDecisions:\n\S+ CONFIRMED by Maria \(job \S+\)\n\S+ REVOKED by Jo \(job \S+\): sent back\n$/,
    );
    const again = await json('confirm', one, ...bank);
    expect(again).toMatchObject({ status: 1, error: { code: 'GROUP_NOT_PROPOSED', jobId: expect.any(String) } });
  });

  test('that need a reason or a group’s id and have none are not published', async () => {
    const bank = ['--context', 'bank'];
    expect(await json('reject', '67108864', ...bank)).toMatchObject({
      status: 2,
      error: { code: 'USAGE', message: 'reject needs --reason <text>' },
    });
    expect(await json('confirm', ...bank)).toMatchObject({ status: 2, error: { code: 'USAGE' } });
    expect(await json('confirm', '67108864', 'l1', ...bank)).toMatchObject({
      status: 2,
      error: { code: 'BODY_INVALID', message: expect.stringContaining('groups.1: takes the id of a group') },
    });
    expect(await tenant.query(`SELECT FROM jobs WHERE type <> 'context.apply'`)).toEqual([]);
  });

  test('of a person make a group of open records', async () => {
    await propose();
    const records = ['--left', 'ledger:a:1', 'ledger:a2', '--right', 'statement:b', '--context', 'bank', '--wait'];
    const made = await json('match-manual', ...records, '--by', 'Maria');
    expect(made).toMatchObject({ status: 0, result: { gap: '0' } });
    const { matchId } = made.result;
    expect(await list('--status', 'CONFIRMED')).toMatchObject([
      {
        groupId: matchId,
        rule: 'manual',
        confidence: 100,
        left: { records: 2, amount: '7.25' },
        right: { records: 1 },
      },
    ]);
    const { stdout } = await text('groups', 'list', '--context', 'bank', '--status', 'CONFIRMED');
    expect(stdout).toMatch(/ledger:a:1 and 1 more, 7.25 EUR +statement:b 7.25 EUR$/m);
    expect(await json('groups', 'show', matchId)).toMatchObject({
      scores: null,
      madeBy: made.jobId,
      decisions: [{ status: 'CONFIRMED', decidedBy: 'Maria', reason: null }],
    });
    await json('revoke', matchId, '--context', 'bank', '--reason', 'no', '--wait');
    const unlike = ['--left', 'ledger:usd', '--right', 'statement:b', '--context', 'bank', '--wait'];
    expect(await json('match-manual', ...unlike)).toMatchObject({ status: 1, error: { code: 'MATCH_UNBALANCED' } });
    const anyway = await text('match-manual', ...unlike, '--reason', 'paid in dollars');
    expect(anyway.stdout).toMatch(/^bank: group \d+ is CONFIRMED; of several currencies\n$/);
    expect(await json('match-manual', '--left', 'l1', '--right', 'statement:b', '--context', 'bank')).toMatchObject({
      status: 2,
      error: { code: 'USAGE', message: '"l1" is not SOURCE:EXTERNAL_ID' },
    });
  });
});
