import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import type { RunningWorker } from '@matcher/shared/process/run-worker.ts';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { FleetTiming } from '@matcher/shared/tenancy/fleet-share.ts';
import type { Channel } from 'amqplib';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { openVhost } from '../support/tenant-manager.ts';

const timing: FleetTiming = {
  look: 100,
  believed: 3000,
  first: 1000,
  memory: 4000,
  linger: 500,
  patience: 20_000,
};

let fleet: TestFleet;
let redis: TcpProxy;
let tenants: TestTenant[];
/** One per tenant, in its vhost. */
let channels: Channel[];
const disconnects: (() => Promise<void>)[] = [];
const workers: RunningWorker[] = [];
const children: ChildProcess[] = [];
/** What a test has to end even when it fails, the last first. */
const cleanups: (() => Promise<unknown>)[] = [];
/** What workers depend on, so that it ends after them. */
const closeAtEnd: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  fleet = await startFleet({ workers: 0, overrides: { MULTI_TENANT_MAX_TENANT_POOLS: '2' } });
  tenants = [];
  channels = [];
  for (let i = 0; i < 6; i++) {
    const tenant = await fleet.tenant();
    const connection = await openVhost(tenant.config.rabbitmq);
    tenants.push(tenant);
    channels.push(await connection.createChannel());
    disconnects.push(() => connection.close());
  }
});
afterAll(async () => {
  for (const disconnect of disconnects) await disconnect();
  await fleet?.close();
});
beforeEach(async () => {
  const { host, port } = splitAddress(fleet.settings.REDIS_HOST ?? '');
  redis = await startTcpProxy(host, port);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  for (const close of closeAtEnd.splice(0)) await close();
  await redis.close();
});

async function start(count: number, overrides: Record<string, string> = {}): Promise<RunningWorker[]> {
  const own = { REDIS_HOST: `127.0.0.1:${redis.port}`, ...overrides };
  const started = Array.from({ length: count }, () => fleet.worker(own, timing));
  const running = await Promise.all(started);
  workers.push(...running);
  return running;
}

/** The environment of a worker whose way to the broker is so slow that it takes longer to connect than the others consume on by the clock. */
async function slowBroker(): Promise<Record<string, string>> {
  const broker = await startTcpProxy(fleet.settings.RABBITMQ_HOST ?? '', fleet.settings.RABBITMQ_PORT);
  broker.delay = timing.linger / 10;
  const manager = await startManagerProxy(fleet.manager.address);
  for (const { id } of tenants) manager.detours.set(id, { rabbitmqPort: broker.port });
  closeAtEnd.push(
    () => manager.close(),
    () => broker.close(),
  );
  return { MULTI_TENANT_URL: manager.address };
}

/** A worker that can be killed. */
async function spawnWorker(): Promise<ChildProcess> {
  const main = resolve(import.meta.dirname, '../support/fleet-worker.ts');
  const child = spawn(process.execPath, [main, JSON.stringify(timing)], {
    env: { ...process.env, ...fleet.environment },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  children.push(child);
  return child;
}

/** How many processes consume each tenant, as its broker says. */
const consumers = () =>
  Promise.all(channels.map(async (channel) => (await channel.checkQueue(jobQueue('context.apply'))).consumerCount));
const everyTenantHas = async (count: number) => (await consumers()).every((consuming) => consuming === count);

/** Looks without a break, until it is asked for the fewest that any tenant ever had. */
function watchConsumers(): () => Promise<number> {
  const ended = new AbortController();
  const looking = (async () => {
    let fewest = Number.POSITIVE_INFINITY;
    while (!ended.signal.aborted) {
      fewest = Math.min(fewest, ...(await consumers()));
      await delay(10);
    }
    return fewest;
  })();
  const end = () => {
    ended.abort();
    return looking;
  };
  cleanups.push(end);
  return end;
}

const tenantsOf = async ({ port }: RunningWorker) => {
  const answer = await fetch(`http://127.0.0.1:${port}/ready`);
  return (await answer.json()) as { ready: boolean; tenants: { active: number; share: number; consuming: number } };
};
/** The sum over the workers, as soon as each of them consumes what is its own and nothing else. */
const consumed = async (of: RunningWorker[]) => {
  const states = (await Promise.all(of.map(tenantsOf))).map(({ tenants }) => tenants);
  if (states.some(({ share, consuming }) => share !== consuming)) return undefined;
  return states.reduce((sum, { consuming }) => sum + consuming, 0);
};
/** Processes that are there and consume all that they should, as they say to each other. */
async function settledMembers(): Promise<number> {
  const members = createRedis(fleet.settings, fleet.log);
  try {
    await once(members, 'ready');
    const keys = await members.keys(`matcher:members:${fleet.environment.MULTI_TENANT_ENVIRONMENT}:worker:*`);
    const texts = keys.length === 0 ? [] : await members.mget(keys);
    const said = texts.map((text) => JSON.parse(text ?? '{}'));
    return said.filter(({ eligible, settled }) => eligible && settled).length;
  } finally {
    members.disconnect();
  }
}
let applied = 0;
const apply = (tenant: TestTenant) =>
  tenant.done('context.apply', { version: 1, context: simpleContext({ name: `context-${++applied}` }) });
const applyAll = () => Promise.all(tenants.map(apply));

test('ten thousand tenants are not ten thousand connections in each process: of more tenants than pools, each is consumed by two', async () => {
  const three = await start(3);
  await until(async () => (await everyTenantHas(2)) && (await consumed(three)) === 12);
  const states = await Promise.all(three.map(tenantsOf));
  expect(states.map(({ ready, tenants: { active } }) => [ready, active])).toEqual(Array(3).fill([true, 6]));
  await applyAll();
});

test('one or two processes consume every tenant', async () => {
  await start(1);
  await until(() => everyTenantHas(1));
  await start(1);
  await until(() => everyTenantHas(2));
});

test('a process that comes, however slowly, takes over before others let go; one that stops is replaced, and jobs go on', async () => {
  await start(2);
  await until(() => everyTenantHas(2));
  const fewest = watchConsumers();
  await start(1, await slowBroker());
  await applyAll();
  await until(async () => (await everyTenantHas(2)) && (await consumed(workers)) === 12);
  expect(await fewest()).toBe(2);
  const fewestAtStop = watchConsumers();
  const [first] = workers.splice(0, 1);
  await Promise.all([first?.stop(), applyAll()]);
  await until(() => everyTenantHas(2));
  expect(await fewestAtStop()).toBeGreaterThanOrEqual(1);
});

test('a process that dies without a word: every tenant’s jobs go on, and each has two homes again', async () => {
  const two = await start(2);
  const victim = await spawnWorker();
  await until(async () => (await settledMembers()) === 3 && (await everyTenantHas(2)));
  const fewest = watchConsumers();
  victim.kill('SIGKILL');
  await once(victim, 'exit');
  await applyAll();
  await until(async () => (await everyTenantHas(2)) && (await consumed(two)) === 12);
  expect(await fewest()).toBeGreaterThanOrEqual(1);
});

test('a tenant whose homes can’t keep up gets the slots of the other processes, too, for as long as that is so', async () => {
  await start(3);
  await until(() => everyTenantHas(2));
  const [flooded] = tenants as [TestTenant];
  await apply(flooded);
  const held = await flooded.hold('contexts');
  cleanups.push(held.release);
  const jobs: string[] = [];
  for (let i = 0; i < 6; i++) {
    const context = simpleContext({ name: `flood-${i}` });
    jobs.push(await flooded.client.publish('context.apply', { version: 1, context }));
  }
  await until(async () => isDeepStrictEqual(await consumers(), [3, 2, 2, 2, 2, 2]));
  const running = `SELECT count(*)::int AS n FROM jobs WHERE state = 'RUNNING'`;
  await until(async () => (await flooded.query(running))[0].n === jobs.length);
  await cleanups.pop()?.();
  for (const id of jobs) expect(await flooded.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  await until(() => everyTenantHas(2));
});

test('Redis away: nobody lets go of anything, jobs go on; then everybody consumes everything, until it is back', async () => {
  await start(3);
  await until(() => everyTenantHas(2));
  const fewest = watchConsumers();
  const missed = () => fleet.lines.filter((line) => line.includes('the other processes cannot be seen"')).length;
  const before = missed();
  redis.mode = 'refuse';
  redis.cut();
  await until(() => missed() >= before + 9);
  await applyAll();
  await until(() => everyTenantHas(3));
  // One that starts now can't see anybody either.
  await start(1);
  await until(() => everyTenantHas(4));
  await applyAll();
  redis.mode = 'forward';
  await until(() => everyTenantHas(2));
  expect(await fewest()).toBe(2);
  await applyAll();
});
