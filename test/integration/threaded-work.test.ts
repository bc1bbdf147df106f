import type { AnyJobDefinition } from '@matcher/shared/jobs/definition.ts';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { backends } from '../support/server-side.ts';
import type { ThreadScript } from '../support/threaded-script.ts';

vi.setConfig({ testTimeout: 30_000 });

const body = { version: 1, context: 'bank' } as const;
let fleet: TestFleet;
let tenant: TestTenant;
let next: ThreadScript;

const threaded: AnyJobDefinition = {
  type: 'matching.run',
  run: async () => ({ thread: new URL('../support/threaded-script.ts', import.meta.url), task: next }),
};

beforeAll(async () => {
  fleet = await startFleet({ workers: 0, overrides: { JOB_MAX_ATTEMPTS: '2', POSTGRES_MAX_OPEN_CONNS: '3' } });
  await fleet.worker({}, undefined, [threaded]);
  tenant = await fleet.tenant();
  await tenant.query('CREATE TABLE notes (note text)');
});
afterAll(() => fleet?.close());
afterEach(() => tenant.query('TRUNCATE notes'));

const notes = async () => (await tenant.query('SELECT note FROM notes ORDER BY note')).map(({ note }) => note);
const record = async (id: string) =>
  (await tenant.query('SELECT state, attempt, deaths FROM jobs WHERE id = $1', [id]))[0];

test('what a thread wrote and the end of its job are committed together', async () => {
  next = { sql: [`INSERT INTO notes VALUES ('written')`] };
  expect(await tenant.run('matching.run', body)).toMatchObject({
    state: 'SUCCEEDED',
    result: { threadId: expect.any(Number) },
  });
  expect(await notes()).toEqual(['written']);
});

test('what a thread throws is classed as on the main thread, and nothing of it is committed', async () => {
  next = { sql: [`INSERT INTO notes VALUES ('half')`], fail: 'permanent' };
  expect(await tenant.run('matching.run', body)).toMatchObject({
    state: 'FAILED',
    error: { code: 'SCRIPT_FAILED', message: 'as it was told', hint: 'None.' },
  });
  next = { sql: ['SELECT 1 / 0'] };
  expect(await tenant.run('matching.run', body)).toMatchObject({ state: 'FAILED', error: { code: '22012' } });
  expect(await notes()).toEqual([]);
});

test('a job that is cancelled while its thread computes ends, and so does its transaction; the thread goes on with the next', async () => {
  const before = await thread();
  next = { sql: [`INSERT INTO notes VALUES ('half')`], compute: true };
  const id = await tenant.client.publish('matching.run', body);
  await until(async () => (await idleInTransaction()) === 1);
  await tenant.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [id]);
  expect((await tenant.client.follow(id)).state).toBe('CANCELLED');
  await until(async () => (await idleInTransaction()) === 0);
  expect(await notes()).toEqual([]);
  expect(await thread()).toBe(before);
});

test('a job that is cancelled while its thread waits for a statement has the statement cancelled', async () => {
  next = { sql: ['SELECT pg_sleep(600)'] };
  const id = await tenant.client.publish('matching.run', body);
  const sleeping = () => tenant.query(`SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'`);
  await until(async () => (await sleeping()).length === 1);
  await tenant.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [id]);
  expect((await tenant.client.follow(id)).state).toBe('CANCELLED');
  expect(await sleeping()).toEqual([]);
});

test('a thread that does not listen is ended, and the next job gets another', async () => {
  const before = await thread();
  next = { sql: [`INSERT INTO notes VALUES ('half')`], deaf: true };
  const id = await tenant.client.publish('matching.run', body);
  await until(async () => (await idleInTransaction()) === 1);
  await tenant.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [id]);
  expect((await tenant.client.follow(id)).state).toBe('CANCELLED');
  await until(async () => (await idleInTransaction()) === 0);
  next = { sql: [`INSERT INTO notes VALUES ('whole')`] };
  expect((await tenant.run('matching.run', body)).state).toBe('SUCCEEDED');
  expect(await notes()).toEqual(['whole']);
  expect(await thread()).not.toBe(before);
});

test('a thread that dies fails its attempt, not its process', async () => {
  next = { sql: [`INSERT INTO notes VALUES ('half')`], exit: true };
  const id = await tenant.client.publish('matching.run', body);
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'FAILED', error: { code: 'THREAD_ENDED' } });
  expect(await record(id)).toMatchObject({ attempt: 2, deaths: 0 });
  await until(async () => (await idleInTransaction()) === 0);
  expect(await notes()).toEqual([]);
});

test('a claim that was lost meanwhile commits nothing', async () => {
  next = { sql: [`INSERT INTO notes VALUES ('late')`] };
  const held = await tenant.hold('notes');
  const id = await tenant.client.publish('matching.run', body);
  await until(held.waiting);
  next = { sql: [`INSERT INTO notes VALUES ('next')`] };
  await tenant.query(`UPDATE jobs SET fence = fence + 1, lease_until = now() WHERE id = $1`, [id]);
  await held.release();
  expect((await tenant.client.follow(id)).state).toBe('SUCCEEDED');
  expect(await notes()).toEqual(['next']);
});

test('connections of threads count as the tenant’s: never more than it may have', async () => {
  next = { sql: ['SELECT pg_sleep(0.2)'] };
  let most = 0;
  let going = true;
  const watching = (async () => {
    while (going) most = Math.max(most, await backends(fleet, tenant, 'workers'));
  })();
  await Promise.all(Array.from({ length: 8 }, () => tenant.done('matching.run', body)));
  going = false;
  await watching;
  expect(most).toBeGreaterThanOrEqual(2);
  expect(most).toBeLessThanOrEqual(3);
});

/** Which one is at work when there is one job. */
async function thread(): Promise<number> {
  next = {};
  return ((await tenant.done('matching.run', body)) as unknown as { threadId: number }).threadId;
}

async function idleInTransaction(): Promise<number> {
  return (
    await tenant.query(
      `SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = 'matcher' AND datname = current_database()`,
    )
  ).length;
}
