import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createRedis, type TenantRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../support/fleet.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { testLog } from '../support/test-log.ts';

const mark = randomBytes(6).toString('hex');
/** One tenant's identifier is the beginning of the other's. */
const a = canonicalTenantId(`t${mark}`);
const ab = canonicalTenantId(`t${mark}b`);
let redis: Redis;
let ofA: TenantRedis;
let ofAb: TenantRedis;

const settings = (env: NodeJS.ProcessEnv = {}) =>
  loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false', ...env });

beforeAll(async () => {
  redis = createRedis(settings(), testLog().log);
  await once(redis, 'ready');
  ofA = tenantRedis(redis, a);
  ofAb = tenantRedis(redis, ab);
});
afterAll(() => redis.disconnect());
afterEach(async () => {
  const keys = await storedKeys();
  if (keys.length > 0) await redis.del(...keys);
});

const storedKeys = async () => (await redis.keys(`*${mark}*`)).sort();

test('a key lies under tenant:{id}: on the server', async () => {
  await ofA.set('job:1:progress', 'half', 60);
  expect(await storedKeys()).toEqual([`tenant:${a}:job:1:progress`]);
  expect(await redis.get(`tenant:${a}:job:1:progress`)).toBe('half');
  expect(await ofA.get('job:1:progress')).toBe('half');
});

test('a value lives as long as it was given', async () => {
  await ofA.set('key', 'value', 60);
  expect(await redis.ttl(`tenant:${a}:key`)).toBeGreaterThan(55);
  await ofA.set('key', 'value', 600);
  expect(await redis.ttl(`tenant:${a}:key`)).toBeGreaterThan(595);
});

test('what is deleted or was never there is null', async () => {
  await ofA.set('key', 'value', 60);
  await ofA.delete('key');
  expect(await ofA.get('key')).toBeNull();
  expect(await storedKeys()).toEqual([]);
});

test('tenants do not see or touch each other’s keys, also when one’s identifier begins like the other’s', async () => {
  await ofA.set('key', 'of a', 60);
  await ofAb.set('key', 'of ab', 60);
  expect(await ofA.get('key')).toBe('of a');
  await ofA.delete('key');
  expect(await ofA.get('key')).toBeNull();
  expect(await ofAb.get('key')).toBe('of ab');
});

test.each([`tenant:${ab}:key`, `:tenant:${ab}:key`, `../tenant:${ab}:key`, 'b:key', '*', '[t]*', `\ntenant:${ab}:key`])(
  'there is no key that leads to another tenant: %j is taken literally, under the own prefix',
  async (key) => {
    await ofAb.set('key', 'of ab', 60);
    expect(await ofA.get(key)).toBeNull();
    await ofA.set(key, 'mine', 60);
    expect(await storedKeys()).toEqual([`tenant:${a}:${key}`, `tenant:${ab}:key`].sort());
    await ofA.delete(key);
    expect(await ofAb.get('key')).toBe('of ab');
  },
);

test('an error that Redis answers is passed on as it is', async () => {
  await redis.rpush(`tenant:${a}:list`, 'x');
  await expect(ofA.get('list')).rejects.toThrow('WRONGTYPE');
});

test('a single tenant’s keys have no prefix', async () => {
  await tenantRedis(redis, undefined).set(`alone-${mark}`, 'value', 60);
  expect(await storedKeys()).toEqual([`alone-${mark}`]);
});

test('a key without a name is an error, not the tenant’s prefix', async () => {
  await expect(ofA.set('', 'value', 60)).rejects.toMatchObject({ code: 'REDIS_KEY_INVALID' });
  await expect(ofA.get('')).rejects.toMatchObject({ code: 'REDIS_KEY_INVALID' });
  await expect(ofA.delete('')).rejects.toMatchObject({ code: 'REDIS_KEY_INVALID' });
});

describe('Redis away', () => {
  let proxy: TcpProxy;
  let through: Redis;
  let keys: TenantRedis;

  beforeAll(async () => {
    const { host, port } = splitAddress(process.env.REDIS_HOST as string);
    proxy = await startTcpProxy(host, port);
    through = createRedis(settings({ REDIS_HOST: `127.0.0.1:${proxy.port}` }), testLog().log);
    keys = tenantRedis(through, a);
    await once(through, 'ready');
  });
  afterAll(async () => {
    through.disconnect();
    await proxy.close();
  });

  const away = { code: 'REDIS_UNAVAILABLE', remedy: 'not-now' };

  test('and not answering: a call fails within seconds instead of hanging', async () => {
    proxy.mode = 'swallow';
    await expect(keys.get('key')).rejects.toMatchObject(away);
  }, 5000);

  test('and refusing connections: calls fail at once; when it is back they work, without a restart', async () => {
    const closed = once(through, 'close');
    proxy.mode = 'refuse';
    proxy.cut();
    await closed;
    const began = performance.now();
    const calls = await Promise.allSettled([keys.get('key'), keys.set('key', 'value', 60), keys.delete('key')]);
    for (const call of calls) expect(call).toMatchObject({ reason: away });
    expect(performance.now() - began).toBeLessThan(1000);
    proxy.mode = 'forward';
    await until(() =>
      keys.set('key', 'value', 60).then(
        () => true,
        () => false,
      ),
    );
    expect(await keys.get('key')).toBe('value');
  });

  test('at the start: the process starts all the same, and its calls fail', async () => {
    const early = createRedis(settings({ REDIS_HOST: '127.0.0.1:1' }), testLog().log);
    await expect(tenantRedis(early, a).get('key')).rejects.toMatchObject(away);
    early.disconnect();
  });
});
