import { MatcherError } from '@matcher/shared/errors.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { ConfigCache, type ConfigCacheOptions } from '@matcher/shared/tenancy/config-cache.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configured, holding, json, type ManagerStandIn, startManagerStandIn } from '../../support/manager-stand-in.ts';

const tenantId = canonicalTenantId('acme');
const other = canonicalTenantId('other');
const unavailable = { code: 'TENANT_MANAGER_UNAVAILABLE' };

const answersAboutTheTenant = ['TENANT_NOT_FOUND', 'TENANT_SUSPENDED', 'SERVICE_NOT_CONFIGURED'];
const otherErrors = ['TENANT_MANAGER_UNAVAILABLE', 'TENANT_MANAGER_REFUSED'];

let now: number;
/** The requests that were made and are not answered yet, in order. */
let asked: { tenantId: TenantId; answer(slug: string): void; refuse(code: string): void }[];
let requests: number;
let cache: ConfigCache;

const seconds = (count: number) => {
  now += count * 1000;
};

/** With a minute's time to live; who waits for what may hang has no patience at all, unless a test gives it. */
function newCache(options: Partial<ConfigCacheOptions> = {}): ConfigCache {
  const ask = (id: TenantId) => {
    requests++;
    const { promise, resolve, reject } = Promise.withResolvers<TenantConfig>();
    const answer = (slug: string) => resolve({ tenantId: id, slug } as TenantConfig);
    asked.push({ tenantId: id, answer, refuse: (code) => reject(new MatcherError(code, code)) });
    return promise;
  };
  return new ConfigCache(ask, { ttlMs: 60_000, now: () => now, patienceMs: 10_000, ...options });
}

beforeEach(() => {
  now = 1_000_000;
  asked = [];
  requests = 0;
  cache = newCache();
});

/** The oldest request that waits for an answer. */
function next() {
  const request = asked.shift();
  if (!request) throw new Error('nothing was asked');
  return request;
}

/** Has the tenant's configuration in the cache. */
async function known(slug = 'known', own = cache): Promise<void> {
  const config = own.refresh(tenantId);
  next().answer(slug);
  await config;
  requests = 0;
}

/** All that follows from what was answered has happened. */
const settled = () => new Promise(setImmediate);

async function slugOf(config: Promise<TenantConfig>): Promise<string> {
  return (await config).slug;
}

describe('one request at a time per tenant', () => {
  test('however many ask', async () => {
    const configs = Array.from({ length: 50 }, () => cache.get(tenantId));
    const others = Array.from({ length: 50 }, () => cache.get(other));
    next().answer('a');
    next().answer('b');
    for (const config of configs) expect(await slugOf(config)).toBe('a');
    for (const config of others) expect(await slugOf(config)).toBe('b');
    expect(requests).toBe(2);
  });

  test.each([...answersAboutTheTenant, ...otherErrors])(
    'who waits behind a request that fails (%s) shares its failure and does not repeat it in turn',
    async (code) => {
      const lookups = Array.from({ length: 10 }, () => cache.get(tenantId));
      next().refuse(code);
      for (const lookup of lookups) await expect(lookup).rejects.toMatchObject({ code });
      expect(requests).toBe(1);
    },
  );

  test('a failure of the Tenant Manager is not remembered: the next one asks again', async () => {
    const first = cache.get(tenantId);
    next().refuse('TENANT_MANAGER_UNAVAILABLE');
    await expect(first).rejects.toMatchObject(unavailable);
    const second = cache.get(tenantId);
    next().answer('back');
    expect(await slugOf(second)).toBe('back');
  });

  test('what is known is asked for again after its time, and not before', async () => {
    await known();
    seconds(59);
    expect(await slugOf(cache.get(tenantId))).toBe('known');
    expect(requests).toBe(0);
    seconds(2);
    const config = cache.get(tenantId);
    next().answer('renamed');
    expect(await slugOf(config)).toBe('renamed');
    expect(await slugOf(cache.get(tenantId))).toBe('renamed');
    expect(requests).toBe(1);
  });
});

describe('unknown tenants', () => {
  test.each(answersAboutTheTenant)('are not asked for again and again (%s), and not for ever either', async (code) => {
    const first = cache.get(tenantId);
    next().refuse(code);
    await expect(first).rejects.toMatchObject({ code });
    seconds(4);
    for (let i = 0; i < 10; i++) await expect(cache.get(tenantId)).rejects.toMatchObject({ code });
    expect(requests).toBe(1);
    seconds(2);
    const later = cache.get(tenantId);
    next().answer('onboarded');
    expect(await slugOf(later)).toBe('onboarded');
  });

  test('that are onboarded can be used at once: an event and a refresh both end the memory', async () => {
    for (const tell of [() => cache.forget(tenantId), () => void cache.refresh(tenantId)]) {
      const first = cache.get(tenantId);
      next().refuse('TENANT_NOT_FOUND');
      await expect(first).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
      tell();
      const config = cache.get(tenantId);
      next().answer('onboarded');
      expect(await slugOf(config)).toBe('onboarded');
      seconds(61);
    }
  });

  test('of a flood push no known tenant out, and leave nothing behind that grows', async () => {
    await known();
    for (let i = 0; i < 25_000; i++) {
      const lookup = cache.get(canonicalTenantId(`unknown-${i}`));
      next().refuse('TENANT_NOT_FOUND');
      await lookup.catch(() => {});
    }
    requests = 0;
    expect(await slugOf(cache.get(tenantId))).toBe('known');
    // The oldest refusals are gone, the last ones are there: what is remembered of them is bounded.
    await expect(cache.get(canonicalTenantId('unknown-24999'))).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    expect(requests).toBe(0);
    const forgotten = cache.get(canonicalTenantId('unknown-20000'));
    next().answer('x');
    await forgotten;
  });

  test('and known ones are kept in bounded numbers, the most recently used', async () => {
    for (let i = 0; i < 10_001; i++) {
      const config = cache.get(canonicalTenantId(`tenant-${i}`));
      next().answer('x');
      await config;
    }
    requests = 0;
    await cache.get(canonicalTenantId('tenant-1'));
    expect(requests).toBe(0);
    void cache.get(canonicalTenantId('tenant-0'));
    expect(requests).toBe(1);
  });
});

describe('with the Tenant Manager away', () => {
  test.each(otherErrors)('what has expired is good for as long as it takes (%s)', async (code) => {
    await known();
    for (let days = 0; days < 10; days++) {
      seconds(86_400);
      const config = cache.get(tenantId);
      next().refuse(code);
      expect(await slugOf(config)).toBe('known');
    }
  });

  test('not every job asks: after a failed request the next ones don’t, for some seconds', async () => {
    await known();
    seconds(61);
    const first = cache.get(tenantId);
    next().refuse('TENANT_MANAGER_UNAVAILABLE');
    await first;
    seconds(4);
    for (let i = 0; i < 100; i++) expect(await slugOf(cache.get(tenantId))).toBe('known');
    expect(requests).toBe(1);
    seconds(2);
    const config = cache.get(tenantId);
    next().answer('back');
    expect(await slugOf(config)).toBe('back');
  });

  test('no job waits for a Tenant Manager that hangs, when something is known; its late answer counts', async () => {
    cache = newCache({ patienceMs: 10 });
    await known('known', cache);
    seconds(61);
    expect(await slugOf(cache.get(tenantId))).toBe('known');
    // That one lost its patience. The others have none any more, and don't ask once more either.
    for (let i = 0; i < 100; i++) expect(await slugOf(cache.get(tenantId))).toBe('known');
    expect(requests).toBe(1);
    next().answer('late');
    await settled();
    expect(await slugOf(cache.get(tenantId))).toBe('late');
  });

  test('a late failure that nobody waits for any more ends in nothing but a pause', async () => {
    cache = newCache({ patienceMs: 10 });
    await known('known', cache);
    seconds(61);
    await cache.get(tenantId);
    next().refuse('TENANT_MANAGER_UNAVAILABLE');
    // Unhandled, it would fail this test.
    await settled();
    expect(await slugOf(cache.get(tenantId))).toBe('known');
    expect(requests).toBe(1);
  });

  test('what was called changed is waited for, and used again once nobody can say what is true', async () => {
    cache = newCache({ patienceMs: 0 });
    await known('known', cache);
    cache.forget(tenantId);
    const config = cache.get(tenantId);
    // Without patience it would be answered by now.
    await new Promise((resolve) => setTimeout(resolve, 20));
    next().answer('changed');
    expect(await slugOf(config)).toBe('changed');
    cache.forget(tenantId);
    const failing = cache.get(tenantId);
    next().refuse('TENANT_MANAGER_UNAVAILABLE');
    expect(await slugOf(failing)).toBe('changed');
    expect(await slugOf(cache.get(tenantId))).toBe('changed');
    expect(requests).toBe(2);
  });

  test.each(answersAboutTheTenant)(
    'is another thing than an answer about the tenant (%s), which ends what is known',
    async (code) => {
      await known();
      seconds(61);
      const config = cache.get(tenantId);
      next().refuse(code);
      await expect(config).rejects.toMatchObject({ code });
      seconds(6);
      const later = cache.get(tenantId);
      next().refuse('TENANT_MANAGER_UNAVAILABLE');
      await expect(later).rejects.toMatchObject(unavailable);
    },
  );
});

describe('a refresh', () => {
  test('asks, however fresh the known one is, and its answer is what is known from then on', async () => {
    await known();
    const refreshes = Array.from({ length: 10 }, () => cache.refresh(tenantId));
    // Meanwhile the others go on with what they have.
    expect(await slugOf(cache.get(tenantId))).toBe('known');
    next().answer('refreshed');
    for (const refresh of refreshes) expect(await slugOf(refresh)).toBe('refreshed');
    expect(await slugOf(cache.get(tenantId))).toBe('refreshed');
    expect(requests).toBe(1);
  });

  test.each(otherErrors)('that fails (%s) never answers from what is known, and leaves it in place', async (code) => {
    await known();
    const refresh = cache.refresh(tenantId);
    next().refuse(code);
    await expect(refresh).rejects.toMatchObject({ code });
    expect(await slugOf(cache.get(tenantId))).toBe('known');
    seconds(3600);
    const stale = cache.get(tenantId);
    next().refuse(code);
    expect(await slugOf(stale)).toBe('known');
  });

  test.each(answersAboutTheTenant)('that is answered %s drops what is known', async (code) => {
    await known();
    const refresh = cache.refresh(tenantId);
    next().refuse(code);
    await expect(refresh).rejects.toMatchObject({ code });
    await expect(cache.get(tenantId)).rejects.toMatchObject({ code });
  });

  test('does not share a request that began before an event said "changed", and is not undone by its answer', async () => {
    const before = cache.refresh(tenantId);
    const outdated = next();
    cache.forget(tenantId);
    const refresh = cache.refresh(tenantId);
    next().answer('changed');
    expect(await slugOf(refresh)).toBe('changed');
    outdated.answer('outdated');
    expect(await slugOf(before)).toBe('outdated');
    expect(await slugOf(cache.get(tenantId))).toBe('changed');
  });

  test('does not share a lookup’s request, which may have been answered before the credentials were refused', async () => {
    const lookup = cache.get(tenantId);
    const earlier = next();
    const refresh = cache.refresh(tenantId);
    next().answer('rotated');
    expect(await slugOf(refresh)).toBe('rotated');
    earlier.refuse('TENANT_NOT_FOUND');
    await expect(lookup).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    expect(await slugOf(cache.get(tenantId))).toBe('rotated');
  });

  test('is shared by whoever asks while nothing is known', async () => {
    const refresh = cache.refresh(tenantId);
    const lookup = cache.get(tenantId);
    next().answer('one');
    expect(await refresh).toBe(await lookup);
    expect(requests).toBe(1);
  });
});

test('a tenant that changes while it is asked for: who waits gets an answer, and the outdated one is not kept', async () => {
  const first = cache.get(tenantId);
  const held = next();
  cache.forget(tenantId);
  const second = cache.get(tenantId);
  next().answer('changed');
  expect(await slugOf(second)).toBe('changed');
  held.answer('before');
  expect(await slugOf(first)).toBe('before');
  expect(await slugOf(cache.get(tenantId))).toBe('changed');
});

test('how each lookup ended is counted, without a tenant in a label', async () => {
  const metrics = createMetrics();
  cache = newCache({ metrics });
  const first = cache.get(tenantId);
  next().answer('a');
  await first;
  await cache.get(tenantId);
  seconds(61);
  const stale = cache.get(tenantId);
  next().refuse('TENANT_MANAGER_UNAVAILABLE');
  await stale;
  await cache.get(tenantId);
  const unknown = cache.get(other);
  next().refuse('TENANT_NOT_FOUND');
  await unknown.catch(() => {});
  await cache.get(other).catch(() => {});
  const { values } = await metrics.configLookups.get();
  const counts = Object.fromEntries(values.map(({ labels, value }) => [labels.result, value]));
  expect(counts).toEqual({ miss: 2, hit: 1, stale: 2, negative: 1 });
});

describe('over the wire', () => {
  let manager: ManagerStandIn;
  beforeEach(async () => {
    manager = await startManagerStandIn();
  });
  afterEach(() => manager.close());

  test('twenty lookups at once are one request, and ten behind a failing one are one, too', async () => {
    const { config } = createTenantManagerClient(manager.settings());
    const { respond, asked: first, answer } = holding();
    manager.respond = respond;
    const failing = Array.from({ length: 10 }, () => config(tenantId));
    await first;
    answer(json(500, ''));
    for (const lookup of failing) await expect(lookup).rejects.toMatchObject(unavailable);
    expect(manager.requests).toHaveLength(1);
    manager.respond = configured();
    const configs = await Promise.all(Array.from({ length: 20 }, () => config(tenantId)));
    expect(new Set(configs).size).toBe(1);
    expect(manager.requests).toHaveLength(2);
  });

  test('an unknown tenant is one request until something says that it is there', async () => {
    const { config, forget } = createTenantManagerClient(manager.settings());
    manager.respond = json(404, '');
    for (let i = 0; i < 5; i++) await expect(config(tenantId)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    expect(manager.requests).toHaveLength(1);
    forget(tenantId);
    manager.respond = configured();
    expect((await config(tenantId)).slug).toBe('blue-harbour');
  });

  test('a provisioning that is under way is no answer to remember', async () => {
    const { config } = createTenantManagerClient(manager.settings());
    manager.respond = json(409, { code: 'PROVISIONING', error: 'not yet' });
    await expect(config(tenantId)).rejects.toMatchObject({ code: 'TENANT_MANAGER_REFUSED' });
    manager.respond = configured();
    await config(tenantId);
  });
});
