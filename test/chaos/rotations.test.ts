import type { RunningWorker } from '@matcher/shared/process/run-worker.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { startJobStream } from '../support/job-stream.ts';
import { backends, brokerConnections, cut, serverTime } from '../support/server-side.ts';
import { asAdministrator, queryAs } from '../support/tenant-manager.ts';

/** Two tenants, and a successor for the pool of one of them. */
const maxPools = 3;

let fleet: TestFleet;
let rotated: TestTenant;
let other: TestTenant;
/** One hears of rotations by events alone, one by its own questions alone. */
let workers: RunningWorker[];

beforeAll(async () => {
  fleet = await startFleet({ workers: 0, overrides: { MULTI_TENANT_MAX_TENANT_POOLS: String(maxPools) } });
  [rotated, other] = await Promise.all([fleet.tenant(), fleet.tenant()]);
  workers = await Promise.all([
    fleet.worker({ MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600' }),
    fleet.worker({ MULTI_TENANT_REDIS_HOST: '', MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' }),
  ]);
});
afterAll(() => fleet?.close());

/** As its role, with the password of now. */
async function query({ id }: TestTenant, sql: string, values: string[] = []) {
  return queryAs((await fleet.manager.connections(id)).postgres, fleet.settings, sql, values);
}

const stream = (tenant: TestTenant) => startJobStream(tenant, (sql, values) => query(tenant, sql, values));

async function metric({ port }: RunningWorker, line: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const found = text.split('\n').find((one) => one.startsWith(`${line} `));
  return Number(found?.slice(line.length + 1) ?? 0);
}

test('credentials rotated 20 times during continuous jobs: none fails, is lost or runs twice, and the other tenant notices nothing', async () => {
  const streams = [await stream(rotated), await stream(other)] as const;
  let last = '';
  for (let i = 0; i < 20; i++) {
    last = await serverTime(fleet);
    await fleet.manager.rotate(rotated.id, ([undefined, 'database', 'broker'] as const)[i % 3]);
    await streams[0].more(2);
  }
  expect(await Promise.all(streams.map((each) => each.audit()))).toEqual([0, 0]);

  // What was opened before the last rotation gives way.
  const { rabbitmq } = await fleet.manager.connections(rotated.id);
  await until(async () => (await backends(fleet, rotated, 'workers', last)) === 0);
  await until(async () => {
    const open = await brokerConnections(fleet, rotated, 'workers');
    return open.length === workers.length && open.every(({ user }) => user === rabbitmq.user);
  });
  for (const worker of workers) {
    expect(await metric(worker, 'matcher_tenant_rotations_total{resource="postgresql"}')).toBeGreaterThan(0);
    expect(await metric(worker, 'matcher_tenant_rotations_total{resource="rabbitmq"}')).toBeGreaterThan(0);
    // Which one gets the few runs is the broker's affair.
    const types = ['context.apply', 'ingestion.run', 'matching.run'];
    const done = types.map((type) => metric(worker, `tenant_messages_processed_total{type="${type}",outcome="done"}`));
    expect((await Promise.all(done)).reduce((sum, count) => sum + count)).toBeGreaterThan(0);
  }
  const opened = fleet.lines
    .filter((line) => line.includes('opened the tenant’s database'))
    .map((line) => JSON.parse(line));
  expect(opened.filter(({ open }) => open > maxPools)).toEqual([]);
  const ofOther = fleet.lines.filter((line) => line.includes(other.id));
  expect(ofOther.filter((line) => line.includes('put off') || /"level":"(warn|error)"/.test(line))).toEqual([]);
});

test('a rotation that cuts every connection puts jobs off: none fails, is charged for it, is lost or runs twice, and the publisher goes on', async () => {
  const tenant = await fleet.tenant();
  const jobs = await stream(tenant);
  for (let i = 0; i < 4; i++) {
    await fleet.manager.rotate(tenant.id);
    await cut(fleet, tenant, 'workers');
    await cut(fleet, tenant, 'publishers');
    await jobs.more(3);
  }
  expect(await jobs.audit()).toBe(0);
});

/** A run that stands still in its transaction, on a lock that the test holds. */
async function heldRun() {
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  await loadPairs(tenant, 5);
  const held = await tenant.hold('match_groups');
  const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
  await until(held.waiting);
  const record = async () => {
    const sql = 'SELECT state, attempt, fence, extract(epoch FROM lease_until)::float AS lease FROM jobs WHERE id = $1';
    return (await query(tenant, sql, [id]))[0];
  };
  return { tenant, id, held, record };
}

test('a job that outlasts its lease on a pool whose password was rotated keeps its claim, and is done once', async () => {
  const { tenant, id, held, record } = await heldRun();
  const first = await record();
  await fleet.manager.rotate(tenant.id, 'database');
  // Besides the job's own connection the pool has none left: a renewal takes a new one.
  await asAdministrator(
    fleet.manager.settings,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'matcher' AND state = 'idle'`,
    [tenant.config.postgres.user],
  );
  await until(async () => {
    const { fence, lease } = await record();
    return fence !== first.fence || lease > first.lease + fleet.settings.JOB_LEASE_SEC;
  });
  await held.release();
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
  expect(await record()).toMatchObject({ attempt: 1, fence: '1' });
});

test('a job whose connection a rotation cuts gives its claim back over one with the new password, and is charged nothing', async () => {
  const { tenant, id, held, record } = await heldRun();
  await fleet.manager.rotate(tenant.id, 'database');
  await cut(fleet, tenant, 'workers');
  const given = await until(async () => {
    const now = await record();
    return (now.state === 'WAITING' || now.fence !== '1') && now;
  });
  expect(given).toMatchObject({ state: 'WAITING', attempt: 0, fence: '1' });
  await held.release();
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
  expect(await record()).toMatchObject({ attempt: 1, fence: '2' });
});
