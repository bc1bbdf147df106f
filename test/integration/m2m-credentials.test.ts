import { randomUUID } from 'node:crypto';
import { tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { keyOf, type M2MFixture, nameOf, startM2M } from '../support/m2m.ts';

let m2m: M2MFixture;
let acme: TenantId;
let blue: TenantId;

beforeEach(async () => {
  m2m = await startM2M();
  acme = newTenantId();
  blue = newTenantId();
});
afterEach(() => m2m.close());

describe('credentials', () => {
  test('are read through the AWS SDK, with a signature that is checked, under the name of the contract', async () => {
    const clientSecret = m2m.rotate(acme);
    expect(await m2m.startProcess().credentials.get(acme)).toEqual({
      clientId: `client-of-${acme}`,
      clientSecret,
      targetBaseUrl: undefined,
    });
    expect(m2m.aws.asked).toEqual([`tenants/test/${acme}/matcher/m2m/fetcher/credentials`]);
    expect(m2m.log.lines.join('')).toContain('machine-to-machine credentials were read');
  });

  test('have no environment in their name where there is no label', async () => {
    m2m.settings = m2m.settingsWith({ MULTI_TENANT_ENVIRONMENT: '', MULTI_TENANT_REDIS_HOST: '' });
    await m2m.failure(m2m.startProcess().credentials.get(acme));
    expect(m2m.aws.asked).toEqual([`tenants/${acme}/matcher/m2m/fetcher/credentials`]);
  });

  test('are the same under both spellings of the tenant’s UUID (one tenant is not two)', async () => {
    const uuid = randomUUID();
    acme = canonicalTenantId(uuid);
    m2m.rotate(acme);
    const { credentials } = m2m.startProcess();
    await credentials.get(canonicalTenantId(uuid.toUpperCase()));
    await credentials.get(canonicalTenantId(uuid.replaceAll('-', '')));
    expect(m2m.aws.asked).toHaveLength(1);
    expect(await m2m.redis.exists(keyOf(acme))).toBe(1);
  });

  test('are kept in memory for 30 seconds, then in Redis, from which another process has them too', async () => {
    m2m.rotate(acme);
    const { credentials } = m2m.startProcess();
    const first = await credentials.get(acme);
    await m2m.redis.del(keyOf(acme));
    m2m.now = 29_999;
    expect(await credentials.get(acme)).toEqual(first);
    expect(m2m.aws.asked).toHaveLength(1);

    m2m.now = 30_000;
    await credentials.get(acme);
    expect(m2m.aws.asked).toHaveLength(2);

    m2m.now = 60_000;
    expect(await credentials.get(acme)).toEqual(first);
    expect(await m2m.startProcess().credentials.get(acme)).toEqual(first);
    expect(m2m.aws.asked).toHaveLength(2);
  });

  test('are in Redis under the key of the contract, with the prefix once, for M2M_CREDENTIAL_CACHE_TTL_SEC', async () => {
    m2m.rotate(acme);
    m2m.settings = m2m.settingsWith({ M2M_CREDENTIAL_CACHE_TTL_SEC: '77' });
    await m2m.startProcess().credentials.get(acme);
    expect(await m2m.redis.keys(`*${acme}*`)).toEqual([keyOf(acme)]);
    const ttl = await m2m.redis.pttl(keyOf(acme));
    expect(ttl).toBeGreaterThan(70_000);
    expect(ttl).toBeLessThanOrEqual(77_000);
  });

  test('are not in clear text in Redis', async () => {
    const clientSecret = m2m.rotate(acme);
    await m2m.startProcess().credentials.get(acme);
    const raw = (await m2m.redis.get(keyOf(acme))) ?? '';
    expect(raw).toMatch(/^v1\.[\w-]{40,}$/);
    const decoded = Buffer.from(raw.slice(3), 'base64url').toString('latin1');
    for (const text of [clientSecret, 'client', acme]) expect(raw + decoded).not.toContain(text);
  });

  test('of fifty callers at once are one call, and of each tenant its own', async () => {
    m2m.rotate(acme);
    m2m.rotate(blue);
    const { credentials } = m2m.startProcess();
    const callers = Array.from({ length: 50 }, () => credentials.get(acme));
    const other = await credentials.get(blue);
    const got = await Promise.all(callers);
    expect(m2m.aws.asked.toSorted()).toEqual([nameOf(acme), nameOf(blue)].toSorted());
    expect(new Set(got.map(({ clientId }) => clientId))).toEqual(new Set([`client-of-${acme}`]));
    expect(other.clientId).toBe(`client-of-${blue}`);
  });

  test('a caller’s cancellation does not fail the others', async () => {
    m2m.rotate(acme);
    const { credentials } = m2m.startProcess();
    const release = m2m.aws.hold();
    const controller = new AbortController();
    const patient = credentials.get(acme);
    const impatient = credentials.get(acme, controller.signal);
    await m2m.aws.arrived(1);
    controller.abort(new Error('the job was cancelled'));
    await expect(impatient).rejects.toThrow('the job was cancelled');
    release();
    expect((await patient).clientId).toBe(`client-of-${acme}`);
    expect(m2m.aws.asked).toHaveLength(1);
  });
});

describe('one tenant’s credentials are never another’s', () => {
  test('its scope reaches only its own key', async () => {
    m2m.rotate(acme);
    await m2m.startProcess().credentials.get(acme);
    const ofBlue = tenantRedis(m2m.redis, blue);
    for (const key of [keyOf(acme), `m2m:fetcher:${acme}:credentials`, `m2m:fetcher:${blue}:credentials`]) {
      expect(await ofBlue.get(key)).toBeNull();
    }
    expect(await tenantRedis(m2m.redis, acme).get(`m2m:fetcher:${acme}:credentials`)).not.toBeNull();
  });

  test('its value at another tenant’s key is a miss', async () => {
    m2m.rotate(acme);
    m2m.rotate(blue);
    const { credentials } = m2m.startProcess();
    await credentials.get(acme);
    await m2m.redis.set(keyOf(blue), (await m2m.redis.get(keyOf(acme))) ?? '', 'EX', 60);
    expect((await credentials.get(blue)).clientId).toBe(`client-of-${blue}`);
    expect(m2m.aws.asked).toEqual([nameOf(acme), nameOf(blue)]);
  });

  test.each(['{"clientId":"x","clientSecret":"y","targetBaseUrl":"https://evil.example.com"}', '', 'v1.AAAA'])(
    'and what somebody wrote to Redis is a miss: %j',
    async (planted) => {
      m2m.rotate(acme);
      await m2m.redis.set(keyOf(acme), planted, 'EX', 60);
      expect((await m2m.startProcess().credentials.get(acme)).clientId).toBe(`client-of-${acme}`);
      expect(await m2m.redis.get(keyOf(acme))).not.toBe(planted);
    },
  );

  test('a deployment with another API key cannot open it', async () => {
    m2m.rotate(acme);
    await m2m.startProcess().credentials.get(acme);
    await m2m.startProcess({ settings: m2m.settingsWith({}) }).credentials.get(acme);
    expect(m2m.aws.asked).toHaveLength(2);
  });
});

describe('without Redis', () => {
  test('credentials come from memory and Secrets Manager, and a warning says so', async () => {
    m2m.rotate(acme);
    const gone = await m2m.connectRedis();
    const { credentials } = m2m.startProcess({ redis: gone });
    gone.disconnect();
    await credentials.get(acme);
    await credentials.get(acme);
    expect(m2m.aws.asked).toHaveLength(1);
    m2m.now = 30_000;
    await credentials.get(acme);
    expect(m2m.aws.asked).toHaveLength(2);
    expect(m2m.log.lines.join('')).toMatch(/cannot be read from Redis; going on without/);
  });

  test('a refused token is still renewed, from Secrets Manager', async () => {
    m2m.rotate(acme);
    const failing = await m2m.connectRedis();
    const { client } = m2m.startProcess({ redis: failing });
    await client.job(acme, 'j1');
    failing.disconnect();
    m2m.rotate(acme);
    m2m.fetcher.revokeTokens();
    expect(await client.job(acme, 'j2')).toMatchObject({ client: `client-of-${acme}` });
  });
});
