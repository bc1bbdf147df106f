import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { readFleet } from '@matcher/shared/process/fleet-registry.ts';
import type { RunningWorker } from '@matcher/shared/process/run-worker.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** Both of a worker's Redis servers, that of its keys and that of the tenant events, are away while jobs run. */

let fleet: TestFleet;
let keys: TcpProxy;
let events: TcpProxy;
let redis: Redis;
let worker: RunningWorker;
let others: SteadyJobs[];

const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));
const subscriptions = () => logged('subscribed to tenant events').length;
const apply = { version: 1, context: simpleContext() } as const;

beforeAll(async () => {
  const { REDIS_HOST = '', MULTI_TENANT_REDIS_HOST = '', MULTI_TENANT_REDIS_PORT } = process.env;
  const { host, port } = splitAddress(REDIS_HOST);
  keys = await startTcpProxy(host, port);
  events = await startTcpProxy(MULTI_TENANT_REDIS_HOST, Number(MULTI_TENANT_REDIS_PORT));
  fleet = await startFleet({ workers: 0 });
  redis = createRedis(fleet.settings, fleet.log);
  worker = await fleet.worker({
    REDIS_HOST: `127.0.0.1:${keys.port}`,
    MULTI_TENANT_REDIS_HOST: '127.0.0.1',
    MULTI_TENANT_REDIS_PORT: String(events.port),
    // No comparison helps out here: who comes is found by an event, or by a subscription that begins.
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600',
  });
  const tenants = await Promise.all([fleet.tenant(), fleet.tenant()]);
  others = await Promise.all(tenants.map((tenant) => startSteadyJobs(tenant)));
});
afterAll(async () => {
  redis?.disconnect();
  await fleet?.close();
  await keys?.close();
  await events?.close();
});

const proxies = () => [keys, events];
const registered = async () => {
  const { processes } = await readFleet(redis, fleet.settings);
  return processes.find(({ address }) => address.endsWith(`:${worker.port}`));
};

test.each([
  ['gone', 'refuse'],
  ['a black hole', 'swallow'],
] as const)(
  '%s: jobs go on; a tenant that came meanwhile is served, and the process is listed, within seconds of its return',
  async (_what, mode) => {
    await Promise.all(others.map((jobs) => jobs.more(1)));
    await until(() => redis.status === 'ready');
    const before = subscriptions();
    const hits = () => proxies().map(({ hits: { refused, swallowed } }) => (mode === 'refuse' ? refused : swallowed));
    const hitBefore = hits();
    for (const proxy of proxies()) {
      proxy.mode = mode;
      if (mode === 'refuse') proxy.cut('reset');
    }
    const newcomer = await fleet.tenant();
    const id = await newcomer.client.publish('context.apply', apply);
    await until(() => hits().every((count, i) => count > (hitBefore[i] as number)));
    await Promise.all(others.map((jobs) => jobs.more(30)));
    // Its event was lost on whoever was to hear it.
    expect(await newcomer.client.read(id)).toBeUndefined();
    expect((await fetch(`http://127.0.0.1:${worker.port}/ready`)).status).toBe(200);
    if (mode === 'swallow') await until(() => logged('the subscription is silent').length > 0);

    for (const proxy of proxies()) proxy.mode = 'forward';
    const returned = Date.now();
    expect(await newcomer.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
    expect(subscriptions()).toBeGreaterThan(before);
    await until(async () => Date.parse((await registered())?.at ?? '') > returned);
    expect(Date.now() - returned).toBeLessThan(20_000);
    // The subscription hears again: this one comes by its event.
    const next = await fleet.tenant();
    await next.done('context.apply', apply);
  },
);

test('and in all of it no job was lost, done twice, or charged an attempt', async () => {
  for (const jobs of others) expect(await jobs.audit()).toBe(0);
});
