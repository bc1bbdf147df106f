import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createRedis, type TenantRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
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

test('a single tenant’s keys have no prefix, and are misses after the switch to multi-tenant mode', async () => {
  const alone = tenantRedis(redis, keySpaceOf(settings(), a));
  await alone.set(`alone-${mark}`, 'before the switch', 60);
  expect(await storedKeys()).toEqual([`alone-${mark}`]);
  const switched = tenantRedis(redis, keySpaceOf({ MULTI_TENANT_ENABLED: true }, a));
  expect(await switched.get(`alone-${mark}`)).toBeNull();
  await switched.set(`alone-${mark}`, 'after it', 60);
  expect(await alone.get(`alone-${mark}`)).toBe('before the switch');
});

test('a tenant that was forgotten on the way is an error, and not the keys of everybody', () => {
  expect(() => tenantRedis(redis, undefined as unknown as TenantId)).toThrow(
    expect.objectContaining({ code: 'TENANT_REQUIRED' }),
  );
});

test('the prefix is not added twice: a key that carries it already is a key like others, and what is written can be read', async () => {
  const carrying = `tenant:${a}:key`;
  await ofA.set('key', 'plain', 60);
  await ofA.set(carrying, 'carrying', 60);
  expect(await storedKeys()).toEqual([`tenant:${a}:key`, `tenant:${a}:tenant:${a}:key`]);
  expect([await ofA.get('key'), await ofA.get(carrying)]).toEqual(['plain', 'carrying']);
});

test.each([
  ['a NUL', 'a\0b'],
  ['64 KiB', 'k'.repeat(65_536)],
  ['letters of two, three and four bytes', 'é…😀'],
  ['line ends and a command', 'x\r\nFLUSHALL\r\n'],
])('a key with %s is kept as it is', async (_what, key) => {
  await ofA.set(key, 'value', 60);
  expect(await storedKeys()).toEqual([`tenant:${a}:${key}`]);
  expect(await ofA.get(key)).toBe('value');
  expect(await ofAb.get(key)).toBeNull();
});

test('a tenant’s key space offers no command over patterns, which could reach others’ keys', () => {
  expect(Object.keys(ofA).toSorted()).toEqual(['delete', 'get', 'set']);
});

test('no two tenants have a key in common, whatever their identifiers and keys look like', async () => {
  const fragment = fc.constantFrom('a', 'b', '-', '_', ':', 'tenant', `${mark}`, '*', '');
  const id = fc.array(fc.constantFrom('a', 'b', '-', '_', 'tenant'), { maxLength: 3 }).map((parts) => parts.join(''));
  const key = fc.array(fragment, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('') || mark);
  await fc.assert(
    fc.asyncProperty(id, key, id, key, async (id1, key1, id2, key2) => {
      const [one, other] = [canonicalTenantId(`t${mark}${id1}`), canonicalTenantId(`t${mark}${id2}`)];
      await tenantRedis(redis, one).set(key1, 'of one', 60);
      const expected = one === other && key1 === key2 ? 'of one' : null;
      expect(await tenantRedis(redis, other).get(key2)).toBe(expected);
      await tenantRedis(redis, other).delete(key2);
      expect(await tenantRedis(redis, one).get(key1)).toBe(expected === null ? 'of one' : null);
      await tenantRedis(redis, one).delete(key1);
    }),
    { numRuns: 500 },
  );
});

test('a key without a name is an error, not the tenant’s prefix', async () => {
  await expect(ofA.set('', 'value', 60)).rejects.toMatchObject({ code: 'REDIS_KEY_INVALID' });
  await expect(ofA.get('')).rejects.toMatchObject({ code: 'REDIS_KEY_INVALID' });
  await expect(ofA.delete('')).rejects.toMatchObject({ code: 'REDIS_KEY_INVALID' });
});
