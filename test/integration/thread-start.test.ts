import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';

vi.setConfig({ testTimeout: 30_000 });

const records = [{ source: 'ledger', externalId: '1' }];
const body = { version: 1 as const, context: 'bank', left: records, right: records };
let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0, overrides: { JOB_MAX_ATTEMPTS: '1' } });
  tenant = await fleet.tenant();
});
afterAll(() => fleet?.close());

test('threads that can’t start put their jobs off, end no process, and leave nothing behind', async () => {
  const worker = await fleet.spawnWorker('scripted');
  // Its connections stand from now on.
  await tenant.done('matching.run', { version: 1, context: 'bank' });
  // No file and no socket more may be opened.
  const limit = (count: string) => execFileSync('prlimit', ['--pid', String(worker.pid), `--nofile=${count}`]);
  limit('3:');
  const ids = await Promise.all([1, 2].map(() => tenant.client.publish('matching.manual', body)));
  const failed = () =>
    tenant.query(`SELECT FROM jobs WHERE state = 'WAITING' AND error->>'code' = 'THREAD_NOT_STARTED'`);
  await until(async () => worker.exitCode !== null || (await failed()).length === ids.length);
  expect(worker.exitCode).toBe(null);
  limit('1024:');
  const ends = [...ids.map((id) => tenant.client.follow(id)), ...[1, 2].map(() => tenant.run('matching.manual', body))];
  expect((await Promise.all(ends)).map(({ state }) => state)).toEqual(new Array(4).fill('SUCCEEDED'));
  expect(await tenant.query('SELECT FROM jobs WHERE attempt > 1 OR deaths > 0')).toEqual([]);
});
