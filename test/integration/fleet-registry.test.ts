import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { loadSettings } from '@matcher/shared/config/load.ts';
import {
  type Announcement,
  announce,
  type ProcessSnapshot,
  readFleet,
} from '@matcher/shared/process/fleet-registry.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { until } from '../support/fleet.ts';
import { snapshot } from '../support/snapshots.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { testLog } from '../support/test-log.ts';

const settingsOf = (environment: string, env: NodeJS.ProcessEnv = {}) =>
  loadSettings('worker', {
    ...process.env,
    MULTI_TENANT_ENABLED: 'false',
    MULTI_TENANT_ENVIRONMENT: environment,
    ...env,
  });

let environment: string;
let redis: Redis;
const announced: Announcement[] = [];

beforeAll(async () => {
  redis = createRedis(settingsOf('any'), testLog().log);
  await once(redis, 'ready');
});
afterAll(() => redis.disconnect());
beforeEach(() => {
  environment = `test-${randomBytes(6).toString('hex')}`;
});
afterEach(async () => {
  for (const one of announced.splice(0)) await one.stop();
});

function tell(said: Partial<ProcessSnapshot> = {}, label = environment, through = redis) {
  const known = snapshot(said);
  const announcement = announce(through, settingsOf(label), testLog().log, () => known);
  announced.push(announcement);
  return { ...announcement, snapshot: known };
}

const fleet = async (label = environment) => readFleet(redis, settingsOf(label));
const ids = async (label?: string) => (await fleet(label)).processes.map(({ id }) => id);
const keys = () => redis.keys(`*${environment}*`);

test('every process that said that it is there is found, as it last said it', async () => {
  const one = tell({ kind: 'matching' });
  const other = tell({ kind: 'export', slots: { total: 4, used: 3 } });
  await until(async () => (await ids()).length === 2);
  expect(await fleet()).toEqual({ processes: [other.snapshot, one.snapshot], unreadable: 0 });
});

test('a change is told at once, not at the next turn', async () => {
  const began = performance.now();
  const { snapshot: known, soon } = tell({ state: 'starting' });
  await until(async () => (await ids()).length === 1);
  known.state = 'running';
  soon();
  await until(async () => (await fleet()).processes[0]?.state === 'running');
  // The next turn is five seconds after the first.
  expect(performance.now() - began).toBeLessThan(5000);
});

test('a process that stopped in order leaves nothing behind', async () => {
  const { stop } = tell();
  await until(async () => (await ids()).length === 1);
  await stop();
  expect(await keys()).toEqual([]);
});

test('a stop right after a change does not put the process back', async () => {
  const { soon, stop } = tell();
  soon();
  await stop();
  expect(await keys()).toEqual([]);
});

test('what a process says is believed for seconds only: a dead one is not shown, and does not hide the others', async () => {
  const dead = tell();
  const alive = tell();
  await until(async () => (await ids()).length === 2);
  const key = `matcher:fleet:${environment}:${dead.snapshot.id}`;
  const ttl = await redis.ttl(key);
  expect(ttl).toBeGreaterThan(10);
  expect(ttl).toBeLessThanOrEqual(15);
  await redis.del(key);
  expect(await ids()).toEqual([alive.snapshot.id]);
});

test('an environment’s label that looks like a pattern or a path reaches no other environment', async () => {
  tell();
  await until(async () => (await ids()).length === 1);
  for (const label of ['*', environment.replace(/.$/, '?'), `${environment}:`, `${environment}*`]) {
    expect(await ids(label)).toEqual([]);
  }
});

test('a snapshot of another version is counted, and hides nobody', async () => {
  const known = tell();
  await until(async () => (await ids()).length === 1);
  const index = `matcher:fleet:${environment}`;
  const foreign = randomUUID();
  await redis.multi().set(`${index}:${foreign}`, '{"id":7}', 'EX', 15).zadd(index, Date.now(), foreign).exec();
  expect(await fleet()).toEqual({ processes: [known.snapshot], unreadable: 1 });
  await redis.del(`${index}:${foreign}`);
});

test('ids of processes that died long ago do not gather in the index', async () => {
  const index = `matcher:fleet:${environment}`;
  await redis.zadd(index, Date.now() - 7_200_000, randomUUID());
  const { snapshot: known } = tell();
  await until(async () => (await redis.zcard(index)) === 1);
  expect(await redis.zrange(index, 0, '-1')).toEqual([known.id]);
});

test('a process whose clock is wrong hides nobody', async () => {
  const right = tell();
  await until(async () => (await ids()).length === 1);
  const now = vi.spyOn(Date, 'now').mockImplementation(() => performance.timeOrigin + performance.now() + 86_400_000);
  const wrong = tell();
  await until(async () => (await ids()).includes(wrong.snapshot.id));
  now.mockRestore();
  expect((await ids()).toSorted()).toEqual([right.snapshot.id, wrong.snapshot.id].toSorted());
});

test('a Redis that is away throws nothing; when it is back, the process is there again', async () => {
  const { host, port } = splitAddress(process.env.REDIS_HOST ?? '');
  const proxy = await startTcpProxy(host, port);
  const { log } = testLog();
  const through = createRedis(settingsOf(environment, { REDIS_HOST: `127.0.0.1:${proxy.port}` }), log);
  try {
    await once(through, 'ready');
    const { soon, snapshot: known } = tell({}, environment, through);
    await until(async () => (await ids()).length === 1);
    proxy.mode = 'refuse';
    proxy.cut();
    await until(() => through.status !== 'ready');
    await redis.del(`matcher:fleet:${environment}:${known.id}`);
    soon();
    await until(() => through.status === 'reconnecting');
    expect(await ids()).toEqual([]);
    proxy.mode = 'forward';
    await until(async () => (await ids()).includes(known.id));
  } finally {
    for (const one of announced.splice(0)) await one.stop();
    through.disconnect();
    await proxy.close();
  }
});

test('a stop while Redis is away ends all the same', async () => {
  const { host, port } = splitAddress(process.env.REDIS_HOST ?? '');
  const proxy = await startTcpProxy(host, port);
  const through = createRedis(settingsOf(environment, { REDIS_HOST: `127.0.0.1:${proxy.port}` }), testLog().log);
  await once(through, 'ready');
  const { stop } = tell({}, environment, through);
  await until(async () => (await ids()).length === 1);
  proxy.mode = 'swallow';
  await stop();
  through.disconnect();
  await proxy.close();
});
