import { openJobClient } from '@matcher/shared/jobs/client.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** The Tenant Manager is away, in every way in which it can be, while tenants' jobs run. */

let fleet: TestFleet;
let manager: ManagerProxy;
let broker: TcpProxy;
let resting: TestTenant;
let others: SteadyJobs[];
let port: number;

/** Everything that is known expires within a second; what is open is closed and looked at as often. */
const env = () => ({
  MULTI_TENANT_URL: manager.address,
  MULTI_TENANT_TIMEOUT: '1',
  MULTI_TENANT_CACHE_TTL_SEC: '1',
  MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1',
  MULTI_TENANT_IDLE_TIMEOUT_SEC: '1',
  MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: '2',
  MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC: '1',
});

const apply = { version: 1, context: simpleContext() } as const;
const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));
const breaker = (state: string) => logged('the circuit breaker', `"state":"${state}"`).length;
const ready = async () => {
  const response = await fetch(`http://127.0.0.1:${port}/ready`);
  return { status: response.status, body: (await response.json()) as { breaker: string } };
};

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  const { RABBITMQ_HOST = '', RABBITMQ_PORT } = fleet.settings;
  broker = await startTcpProxy(RABBITMQ_HOST, RABBITMQ_PORT);
});
afterAll(async () => {
  await fleet?.close();
  await manager?.close();
  await broker?.close();
});

test('away when a worker starts: it begins by itself when the Tenant Manager comes, and does what was published meanwhile', async () => {
  const tenants = await Promise.all([fleet.tenant(), fleet.tenant(), fleet.tenant()]);
  resting = tenants[0];
  manager.detours.set(resting.id, { rabbitmqPort: broker.port });
  const ids = await Promise.all(tenants.map(({ client }) => client.publish('context.apply', apply)));
  manager.misbehave = (response) => void response.socket?.destroy();
  const starting = fleet.worker(env());
  await until(() => breaker('open') > 0);
  port = JSON.parse(logged('"msg":"started"').at(-1) as string).port;
  expect(await ready()).toMatchObject({
    status: 503,
    body: { state: 'starting', reasons: ['the list of active tenants could not be read yet'] },
  });
  manager.misbehave = undefined;
  await starting;
  for (const [i, { client }] of tenants.entries()) {
    expect(await client.follow(ids[i] as string)).toMatchObject({ state: 'SUCCEEDED' });
  }
  others = await Promise.all(tenants.slice(1).map((tenant) => startSteadyJobs(tenant)));
});

const ways: [string, () => void][] = [
  ['ends every connection', () => (manager.misbehave = (response) => void response.socket?.destroy())],
  ['takes requests and never answers', () => (manager.misbehave = () => {})],
  ['answers 500', () => (manager.failure = 500)],
  [
    'answers with another service’s page',
    () => (manager.misbehave = (response) => void response.writeHead(200).end('<html>It works!</html>')),
  ],
  [
    'breaks off in the middle of its answers',
    () => {
      manager.misbehave = (response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
        response.write('[{"id":"', () => response.socket?.destroy());
      };
    },
  ],
];

test.each(ways)(
  'that %s: tenants that are known go on past every expiry; new ones fail fast, and start within seconds of its return',
  async (_what, strike) => {
    await until(async () => (await ready()).body.breaker === 'closed');
    const before = { open: breaker('open'), closed: breaker('closed') };
    strike();
    await until(async () => (await ready()).body.breaker === 'open');
    expect((await ready()).status).toBe(200);

    // One whose pool has been closed and whose broker hangs up: both are opened anew from what is known.
    const opened = logged(resting.id, 'opened the tenant').length;
    await until(() => logged(resting.id, 'closed the tenant', '"reason":"idle"').length === opened);
    const cut = broker.hits.cut;
    broker.cut('reset');
    expect(broker.hits.cut).toBeGreaterThan(cut);
    await resting.done('context.apply', apply);
    expect(logged(resting.id, 'opened the tenant').length).toBeGreaterThan(opened);

    // A newcomer's publisher is told soon; its jobs are published another way and wait.
    const newcomer = await fleet.tenant();
    const id = await newcomer.client.publish('context.apply', apply);
    const settings = { ...fleet.settings, MULTI_TENANT_URL: manager.address, MULTI_TENANT_TIMEOUT: 1 };
    await expect(openJobClient({ settings, tenantId: newcomer.id, log: fleet.log })).rejects.toMatchObject({
      code: 'TENANT_MANAGER_UNAVAILABLE',
    });

    await Promise.all(others.map((jobs) => jobs.more(10)));
    // From one opening of the breaker to the next there is one probe, however many want to ask.
    const openings = breaker('open');
    await until(() => breaker('open') > openings);
    const calls = manager.calls.length;
    await until(() => breaker('open') > openings + 1);
    expect(manager.calls.length - calls).toBe(1);
    expect(breaker('closed')).toBe(before.closed);

    manager.misbehave = undefined;
    manager.failure = undefined;
    const returned = performance.now();
    expect(await newcomer.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
    expect(performance.now() - returned).toBeLessThan(10_000);
    await until(async () => (await ready()).body.breaker === 'closed');
    expect(breaker('closed')).toBe(before.closed + 1);
  },
);

test('and in all of it no job was lost, done twice, or charged an attempt', async () => {
  for (const jobs of others) expect(await jobs.audit()).toBe(0);
});
