import { randomUUID } from 'node:crypto';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let manager: ManagerProxy;
let database: TcpProxy;
let struck: TestTenant;
let other: TestTenant;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  const { POSTGRES_HOST = '', POSTGRES_PORT } = fleet.settings;
  database = await startTcpProxy(POSTGRES_HOST, POSTGRES_PORT);
  [struck, other] = await Promise.all([fleet.tenant(), fleet.tenant()]);
  manager.detours.set(struck.id, { postgresPort: database.port });
  await fleet.worker({
    MULTI_TENANT_URL: manager.address,
    JOB_SLOTS: '2',
    POSTGRES_CONNECT_TIMEOUT_SEC: '2',
    POSTGRES_QUERY_TIMEOUT_SEC: '3',
  });
  for (const tenant of [struck, other]) {
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(tenant, 20);
  }
});
afterAll(async () => {
  await database?.close();
  await manager?.close();
  await fleet?.close();
});

test('a database that swallows everything in the middle of a run: the job gives up its claim, others go on, it is done when the database is back', async () => {
  // The run stands still in its transaction, on a lock that this test holds.
  const holder = await struck.hold('match_groups');
  const id = randomUUID();
  await struck.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
  await until(holder.waiting);
  database.mode = 'swallow';
  await holder.release();
  expect(await other.done('matching.run', { version: 1, context: 'bank' })).toMatchObject({ matched: 20 });
  await until(() => fleet.lines.some((line) => line.includes(id) && line.includes('"msg":"job put off"')));
  database.mode = 'forward';
  // The connections that were swallowed are dead for good.
  database.cut('reset');
  expect(await struck.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 20 } });
  expect(await struck.query('SELECT count(*)::int AS items FROM match_items')).toEqual([{ items: 40 }]);
});

test('a database that refuses connections burns none of its jobs’ attempts', async () => {
  database.mode = 'refuse';
  database.cut();
  const id = randomUUID();
  await struck.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
  await until(() => fleet.lines.some((line) => line.includes(id) && line.includes('"msg":"job put off"')));
  expect(await other.done('matching.run', { version: 1, context: 'bank' })).toMatchObject({ matched: 0 });
  database.mode = 'forward';
  expect(await struck.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  expect(await struck.query('SELECT attempt, deaths FROM jobs WHERE id = $1', [id])).toEqual([
    { attempt: 1, deaths: 0 },
  ]);
});

test('jobs of a tenant whose database is away stay in their queue; once it answers they are done, none was charged', async () => {
  const connection = await openVhost(struck.config.rabbitmq);
  const channel = await connection.createChannel();
  database.mode = 'refuse';
  database.cut();
  const jobs = await Promise.all(
    Array.from({ length: 30 }, () => struck.client.publish('matching.run', { version: 1, context: 'bank' })),
  );
  const queue = () => channel.checkQueue(jobQueue('matching.run'));
  await until(async () => (await queue()).consumerCount === 0);
  // What had come in goes back; the rest was never taken.
  await until(async () => (await queue()).messageCount >= 28);
  database.mode = 'forward';
  for (const id of jobs) expect((await struck.client.follow(id)).state).toBe('SUCCEEDED');
  expect((await queue()).consumerCount).toBe(1);
  expect(await struck.query('SELECT DISTINCT attempt, deaths FROM jobs WHERE id = ANY($1)', [jobs])).toEqual([
    { attempt: 1, deaths: 0 },
  ]);
  await connection.close();
});

test('connections cut in the middle of a run: the job is tried again and done once', async () => {
  await loadPairs(struck, 10, 1000);
  const holder = await struck.hold('match_groups');
  const id = randomUUID();
  await struck.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
  await until(holder.waiting);
  database.cut('reset');
  await holder.release();
  expect(await struck.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 10 } });
  expect(await struck.query('SELECT attempt, deaths FROM jobs WHERE id = $1', [id])).toEqual([
    { attempt: 1, deaths: 0 },
  ]);
  expect(await struck.query('SELECT count(*)::int AS items FROM match_items')).toEqual([{ items: 60 }]);
});

test('a session whose client has vanished ends within about a minute, and does not hold its locks for two hours', async () => {
  const settings = await struck.query(
    `SELECT name, setting FROM pg_settings WHERE name ~ '^tcp_keepalives' ORDER BY name`,
  );
  expect(settings.map(({ setting }) => setting)).toEqual(['3', '30', '10']);
});
