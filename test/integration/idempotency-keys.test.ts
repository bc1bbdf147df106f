import { createHash, randomUUID } from 'node:crypto';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { createRedis, type TenantRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { scriptedJob } from '../support/scripted-job.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** What Redis remembers of idempotency keys, beside the database; its own uniqueness is tested with the control of jobs. */

const body = { version: 1, context: 'bank' } as const;
let fleet: TestFleet;
let tenant: TestTenant;
let proxy: TcpProxy;
let redis: Redis;
let keys: TenantRedis;
/** Ids of the jobs that were done. */
const done: string[] = [];
const failing = new Set<string>();

beforeAll(async () => {
  const { host, port } = splitAddress(process.env.REDIS_HOST ?? '');
  proxy = await startTcpProxy(host, port);
  fleet = await startFleet({ workers: 0 });
  await fleet.worker({ REDIS_HOST: `127.0.0.1:${proxy.port}` }, undefined, [
    scriptedJob(async ({ id }) => {
      done.push(id);
      if (failing.has(id)) throw new TypeError('a bug');
    }),
  ]);
  tenant = await fleet.tenant();
  redis = createRedis(fleet.settings, fleet.log);
  await until(() => redis.status === 'ready');
  keys = tenantRedis(redis, tenant.id);
});
afterAll(async () => {
  redis?.disconnect();
  await fleet?.close();
  await proxy?.close();
});

const place = (key: string) => `idempotency:matching.run:${createHash('sha256').update(key).digest('hex')}`;
const record = async (id: string) => (await tenant.query('SELECT * FROM jobs WHERE id = $1', [id]))[0];
async function send(key: string, id: string = randomUUID()): Promise<string> {
  return await tenant.client.publish('matching.run', body, { id, idempotencyKey: key });
}
/** The state that a job ends with. */
const end = (id: string) =>
  until(async () => {
    const state = (await record(id))?.state;
    return /^(SUCCEEDED|FAILED|DUPLICATE)$/.test(state) ? state : undefined;
  });
async function remembered(key: string): Promise<string> {
  return await until(() => keys.get(place(key)));
}

test('a job that succeeded is remembered by its key for IDEMPOTENCY_SUCCESS_TTL_HOURS, one that failed is not', async () => {
  const key = randomUUID();
  const id = await send(key);
  expect(await remembered(key)).toBe(id);
  expect(await redis.ttl(`tenant:${tenant.id}:${place(key)}`)).toBeGreaterThan(168 * 3600 - 60);
  const [failed, failedKey, laterKey] = [randomUUID(), randomUUID(), randomUUID()];
  failing.add(failed);
  await send(failedKey, failed);
  expect(await end(failed)).toBe('FAILED');
  await send(laterKey);
  await remembered(laterKey);
  expect(await keys.get(place(failedKey))).toBeNull();
});

test('a duplicate that Redis knows of is not tried on the database first', async () => {
  const key = randomUUID();
  const id = await send(key);
  await remembered(key);
  await tenant.query(`ALTER TABLE jobs ADD CONSTRAINT never CHECK (idempotency_key <> '${key}') NOT VALID`);
  const again = await send(key);
  expect(await end(again)).toBe('DUPLICATE');
  expect(await record(again)).toMatchObject({ duplicate_of: id, attempt: 0, idempotency_key: null });
  expect(done).not.toContain(again);
  await until(async () => (await tenant.query('SELECT FROM outbox')).length === 0);
  await tenant.query('ALTER TABLE jobs DROP CONSTRAINT never');
});

describe('what Redis says does not count', () => {
  const believed = async (value: string, key = randomUUID(), id: string = randomUUID()) => {
    await keys.set(place(key), value, 60);
    await send(key, id);
    return await end(id);
  };

  test('when it names the job itself: the same id is the same job', async () => {
    const id = randomUUID();
    expect(await believed(id, undefined, id)).toBe('SUCCEEDED');
  });

  test.each(['', 'two words', '{"id": 7}', 'x'.repeat(500)])('when it is no job’s id: %j', async (value) => {
    expect(await believed(value)).toBe('SUCCEEDED');
  });

  test('when the database knows that job under another key, or under none', async () => {
    const other = await send(randomUUID());
    expect(await end(other)).toBe('SUCCEEDED');
    expect(await believed(other)).toBe('SUCCEEDED');
    expect(await believed(await tenant.client.publish('matching.run', body))).toBe('SUCCEEDED');
  });

  test('when the database does not know that job: it was restored to a time before, and the work is to be done again', async () => {
    const key = randomUUID();
    const id = await send(key);
    await remembered(key);
    await tenant.query('DELETE FROM jobs WHERE id = $1', [id]);
    const again = await send(key);
    expect(await end(again)).toBe('SUCCEEDED');
    expect(done).toContain(again);
  });

  test('when it is of another type than text', async () => {
    const key = randomUUID();
    await redis.rpush(`tenant:${tenant.id}:${place(key)}`, 'x');
    expect(await end(await send(key))).toBe('SUCCEEDED');
  });
});

describe('the database alone decides while Redis', () => {
  /** It is not asked for a few seconds after it gave no answer. */
  const asked = async () =>
    await until(async () => {
      const key = randomUUID();
      await end(await send(key));
      return await keys.get(place(key));
    });

  test.each([
    ['is gone', { mode: 'refuse' }],
    ['swallows what it is sent', { mode: 'swallow' }],
    ['answers too late', { delay: 1000 }],
  ] as const)('%s', async (_what, how) => {
    await asked();
    const key = randomUUID();
    const first = await send(key);
    await remembered(key);
    Object.assign(proxy, how);
    if (proxy.mode === 'refuse') proxy.cut('reset');
    for (let i = 0; i < 20; i++) expect(await end(await send(randomUUID()))).toBe('SUCCEEDED');
    const again = await send(key);
    expect(await end(again)).toBe('DUPLICATE');
    expect(await record(again)).toMatchObject({ duplicate_of: first });
    expect(done).not.toContain(again);
    Object.assign(proxy, { mode: 'forward', delay: 0 });
    await asked();
  });
});
