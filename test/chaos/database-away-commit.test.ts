import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** The network fails at the one moment at which nobody can know whether a job is done. */

let fleet: TestFleet;
let manager: ManagerProxy;
let database: TcpProxy;
let struck: TestTenant;
let neighbour: SteadyJobs;

const body = { version: 1, context: simpleContext() } as const;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  const { POSTGRES_HOST = '', POSTGRES_PORT } = fleet.settings;
  database = await startTcpProxy(POSTGRES_HOST, POSTGRES_PORT);
  const other = await fleet.tenant();
  struck = await fleet.tenant();
  manager.detours.set(struck.id, { postgresPort: database.port });
  await fleet.worker({ MULTI_TENANT_URL: manager.address });
  neighbour = await startSteadyJobs(other);
  await struck.done('context.apply', body);
});
afterAll(async () => {
  await fleet?.close();
  await database?.close();
  await manager?.close();
});
// The commit that is hit must be the job's own, and not that of an event sent before.
beforeEach(() => until(async () => (await struck.query('SELECT FROM outbox')).length === 0));

const revision = async () => (await struck.query(`SELECT revision FROM contexts WHERE name = 'bank'`))[0].revision;

/** Publishes a job in whose COMMIT the network fails in the given way. */
async function failAtCommit(mode: 'swallow-requests' | 'swallow-answers'): Promise<string> {
  database.watch = (chunk, from) => {
    if (from !== 'client' || !chunk.includes('COMMIT')) return;
    database.watch = undefined;
    database.mode = mode;
  };
  const { swallowed } = database.hits;
  const id = await struck.client.publish('context.apply', body, { id: randomUUID() });
  await until(() => database.hits.swallowed > swallowed);
  return id;
}

function heal(): void {
  database.mode = 'forward';
  database.cut('reset');
}

test('the answer to a COMMIT lost: the job is done, is not done again, and its event goes out', async () => {
  const before = await revision();
  const id = await failAtCommit('swallow-answers');
  expect(await struck.client.read(id)).toMatchObject({ state: 'SUCCEEDED' });
  await neighbour.more(10);
  heal();
  // The event leaves when the message has come again.
  await until(async () => (await struck.query('SELECT FROM outbox')).length === 0);
  expect(await struck.client.read(id)).toMatchObject({ state: 'SUCCEEDED', attempt: 1 });
  expect(await revision()).toBe(before + 1);
});

test('a COMMIT lost on its way: the job is not done, and then done once, without an attempt more', async () => {
  const before = await revision();
  const id = await failAtCommit('swallow-requests');
  expect(await struck.client.read(id)).toMatchObject({ state: 'RUNNING' });
  await neighbour.more(10);
  expect(await revision()).toBe(before);
  heal();
  expect(await struck.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  expect(await struck.client.read(id)).toMatchObject({ attempt: 1 });
  expect(await revision()).toBe(before + 1);
});

test('and the neighbour’s jobs were all done once', async () => {
  expect(await neighbour.audit()).toBe(0);
});
