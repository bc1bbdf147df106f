import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { scriptedJob } from '../support/scripted-job.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** The claim is committed, and the connection breaks before the worker hears of it. */

const body = { version: 1, context: 'bank' } as const;
let fleet: TestFleet;
let tenant: TestTenant;
let manager: ManagerProxy;
let database: TcpProxy;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  database = await startTcpProxy(fleet.settings.POSTGRES_HOST ?? '', fleet.settings.POSTGRES_PORT);
  tenant = await fleet.tenant();
  manager.detours.set(tenant.id, { postgresPort: database.port });
  // Leases that outlast the test: a claim that is not recognised would only be taken up when its own ends.
  await fleet.worker({ MULTI_TENANT_URL: manager.address, JOB_LEASE_SEC: '3600' }, undefined, [
    scriptedJob(async () => {}),
  ]);
  await tenant.run('matching.run', body);
});
afterAll(async () => {
  await database?.close();
  await manager?.close();
  await fleet?.close();
});

test('the same worker takes it up again at once: its own claim is neither a death nor another attempt', async () => {
  const id = randomUUID();
  let lost = false;
  database.watch = (chunk, from) => {
    if (from === 'client' && chunk.includes(id) && !lost) {
      lost = true;
      // From here on the answers of all its connections are lost, and soon the connections, too.
      database.mode = 'swallow-answers';
    }
  };
  await tenant.client.publish('matching.run', body, { id });
  const claimed = await until(async () => (await tenant.query('SELECT * FROM jobs WHERE id = $1', [id]))[0]);
  expect(claimed).toMatchObject({ state: 'RUNNING', attempt: 1, fence: '1' });
  database.mode = 'forward';
  database.cut('reset');
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  expect(await tenant.query('SELECT attempt, deaths, fence, error FROM jobs WHERE id = $1', [id])).toEqual([
    { attempt: 1, deaths: 0, fence: '2', error: null },
  ]);
});
