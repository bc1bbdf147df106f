import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { MatcherError } from '@matcher/shared/errors.ts';
import { type PoolLease, TenantPools, type TenantPoolsOptions } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { until } from '../support/fleet.ts';
import { testLog } from '../support/test-log.ts';

vi.setConfig({ testTimeout: 20_000 });

let databases: TestDatabases;
/** Five tenants with a database each. */
let configs: TenantConfig[];
let a: TenantId;
let b: TenantId;
let c: TenantId;
let d: TenantId;
let source: ReturnType<typeof testSource>;
let opened: TenantPools[];
let leases: PoolLease[];

beforeAll(async () => {
  databases = await openTestDatabases();
  configs = [];
  for (let i = 0; i < 5; i++) configs.push(await databases.create());
  [a, b, c, d] = configs.map(({ tenantId }) => tenantId) as [TenantId, TenantId, TenantId, TenantId];
});
afterAll(() => databases.close());
beforeEach(() => {
  source = testSource();
  opened = [];
  leases = [];
});
afterEach(async () => {
  for (const lease of leases) lease.release();
  await Promise.all(opened.map((pools) => pools.closeAll()));
});

/** Knows the five tenants, and what it was asked. */
function testSource() {
  const known = new Map(configs.map((config) => [config.tenantId, config]));
  const asked: TenantId[] = [];
  return {
    known,
    asked,
    /** Called before every answer. */
    before: async (_tenantId: TenantId): Promise<void> => {},
    listActive: async () => [...known.keys()],
    async config(tenantId: TenantId) {
      asked.push(tenantId);
      await source.before(tenantId);
      const config = known.get(tenantId);
      if (!config) throw new MatcherError('TENANT_NOT_FOUND', 'There is no such tenant');
      return config;
    },
    refresh: (tenantId: TenantId) => source.config(tenantId),
    forget: () => {},
  };
}

function openPools(max: number, options: TenantPoolsOptions = {}, env: NodeJS.ProcessEnv = {}): TenantPools {
  const settings = loadSettings('worker', {
    ...process.env,
    MULTI_TENANT_ENABLED: 'false',
    MULTI_TENANT_MAX_TENANT_POOLS: String(max),
    ...env,
  });
  const pools = new TenantPools(source, settings, testLog().log, options);
  const lease = pools.lease.bind(pools);
  // What a failed test still holds is released after it.
  pools.lease = async (tenantId) => {
    const held = await lease(tenantId);
    leases.push(held);
    return held;
  };
  opened.push(pools);
  return pools;
}

/** Opens the tenants' pools in this order and leaves them idle. */
async function openIdle(pools: TenantPools, ...tenants: TenantId[]) {
  for (const tenantId of tenants) (await pools.lease(tenantId)).release();
}

/** Which of the tenants have connections, as the server sees it. */
async function connected(): Promise<TenantId[]> {
  const names = configs.map(({ postgres }) => postgres.database);
  const rows = await databases.ask<{ datname: string }>(
    `SELECT DISTINCT datname FROM pg_stat_activity WHERE datname = ANY($1) AND application_name = 'matcher'`,
    [names],
  );
  return rows.map(({ datname }) => configs.find(({ postgres }) => postgres.database === datname)?.tenantId as TenantId);
}

const backends = ({ postgres }: TenantConfig) =>
  databases.ask<{ pid: number; waits: boolean }>(
    `SELECT pid, coalesce(wait_event_type = 'Lock', false) AS waits FROM pg_stat_activity
      WHERE datname = $1 AND application_name = 'matcher'`,
    [postgres.database],
  );

const works = async ({ pool }: PoolLease) => expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);

/** Whether a promise has been settled by the time that everything which is due has run. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  promise.then(
    () => {
      pending = false;
    },
    () => {
      pending = false;
    },
  );
  await databases.ask('SELECT 1');
  return pending;
}

describe('opening', () => {
  test('a tenant’s database is opened and migrated on first use, and not before', async () => {
    const onOpen = vi.fn();
    const pools = openPools(3, { onOpen });
    expect(await connected()).toEqual([]);
    const lease = await pools.lease(a);
    const { rows } = await lease.pool.query(
      'SELECT current_database() AS name, (SELECT count(*)::int FROM jobs) AS jobs',
    );
    expect(rows).toEqual([{ name: lease.config.postgres.database, jobs: 0 }]);
    expect(lease.config.tenantId).toBe(a);
    expect(await connected()).toEqual([a]);
    expect(onOpen.mock.calls).toEqual([[a]]);
  });

  test('twenty concurrent first uses share one opening', async () => {
    const pools = openPools(3);
    const held = await Promise.all(Array.from({ length: 20 }, () => pools.lease(a)));
    expect(new Set(held.map(({ pool }) => pool)).size).toBe(1);
    expect(source.asked).toEqual([a]);
    expect(await backends(configs[0] as TenantConfig)).toHaveLength(1);
  });

  test('the next use finds the pool open', async () => {
    const pools = openPools(3);
    await openIdle(pools, a);
    await works(await pools.lease(a));
    expect(source.asked).toEqual([a]);
  });

  test('a failed opening fails those who share it, is not kept, and holds no place', async () => {
    const pools = openPools(1);
    source.known.delete(a);
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => pools.lease(a)));
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'TENANT_NOT_FOUND' } });
    expect(source.asked).toEqual([a]);
    expect(pools.size).toBe(0);
    source.known.set(a, configs[0] as TenantConfig);
    await works(await pools.lease(a));
  });

  test('a database that refuses is “not now”, leaves no connection and makes way for the next tenant', async () => {
    const pools = openPools(1);
    const { postgres, ...rest } = configs[0] as TenantConfig;
    source.known.set(a, { ...rest, postgres: { ...postgres, password: 'wrong-password' } });
    const refused = pools.lease(a);
    const next = pools.lease(b);
    const error = await refused.catch((error) => error);
    expect(error).toMatchObject({ code: 'DATABASE_UNAVAILABLE', remedy: 'not-now' });
    expect(error.message).not.toContain('wrong-password');
    await works(await next);
    expect(await connected()).toEqual([b]);
  });

  test('a connection that breaks while its database is opened ends that opening, not the process', async () => {
    const fresh = await databases.create();
    source.known.set(fresh.tenantId, fresh);
    const pools = openPools(1);
    // Holds the migration up in the middle.
    const holder = await databases.connect(fresh);
    await holder.query('BEGIN; CREATE TABLE schema_versions (version integer)');
    const failed = expect(pools.lease(fresh.tenantId)).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      remedy: 'not-now',
    });
    const { pid } = await until(async () => (await backends(fresh)).find(({ waits }) => waits));
    await databases.ask('SELECT pg_terminate_backend($1)', [pid]);
    await failed;
    await holder.query('ROLLBACK');
    await works(await pools.lease(fresh.tenantId));
  });

  test('an idle connection that breaks is replaced by the next use', async () => {
    const pools = openPools(1);
    await openIdle(pools, a);
    for (const { pid } of await backends(configs[0] as TenantConfig))
      await databases.ask('SELECT pg_terminate_backend($1)', [pid]);
    await until(async () => (await backends(configs[0] as TenantConfig)).length === 0);
    const lease = await pools.lease(a);
    await until(() => lease.pool.totalCount === 0);
    await works(lease);
    expect(source.asked).toEqual([a]);
  });
});

describe('the limit', () => {
  test('is never exceeded, closing pools included: the server sees no more tenants at once', async () => {
    const pools = openPools(2);
    let most = 0;
    // Asked at the moment at which a tenant has been given a place and not connected yet.
    source.before = async () => {
      const others = await connected();
      most = Math.max(most, others.length + 1);
    };
    const tenants = configs.map(({ tenantId }) => tenantId);
    const jobs = Array.from({ length: 60 }, async (_, i) => {
      const lease = await pools.lease(tenants[(i * 7) % 5] as TenantId);
      expect(pools.size).toBeLessThanOrEqual(2);
      await works(lease);
      lease.release();
    });
    await Promise.all(jobs);
    expect(new Set(source.asked).size).toBe(5);
    expect(most).toBe(2);
  });

  test('the pool that was left longest ago makes room', async () => {
    const pools = openPools(2);
    const ofA = await pools.lease(a);
    const ofB = await pools.lease(b);
    // Taken first and left last: used more recently than B’s.
    ofB.release();
    ofA.release();
    await works(await pools.lease(c));
    expect(new Set(await connected())).toEqual(new Set([a, c]));
  });

  test('a pool in use is never closed: not for another tenant, not when one of its users leaves', async () => {
    const pools = openPools(1);
    const first = await pools.lease(a);
    const second = await pools.lease(a);
    const other = pools.lease(b);
    first.release();
    first.release();
    expect(await isPending(other)).toBe(true);
    await works(second);
    second.release();
    await works(await other);
    expect(await connected()).toEqual([b]);
  });

  test('as many idle pools are closed as tenants wait, and no more', async () => {
    const pools = openPools(3);
    await openIdle(pools, a, b, c);
    const [ofD] = await Promise.all([pools.lease(d), pools.lease(configs[4]?.tenantId as TenantId)]);
    await works(ofD);
    expect(new Set(await connected())).toEqual(new Set([c, d, configs[4]?.tenantId]));
  });

  test('who waits is served in order of coming', async () => {
    const pools = openPools(1);
    const holder = await pools.lease(a);
    const served: TenantId[] = [];
    const waiting = [b, c, a, d].map(async (tenantId, i) => {
      const lease = await pools.lease(tenantId);
      served.push(tenantId);
      // The one that is open is entered at once; the others have to wait for its users.
      if (i !== 2) lease.release();
      return lease;
    });
    (await (waiting[2] as Promise<PoolLease>)).release();
    holder.release();
    await Promise.all(waiting);
    expect(served).toEqual([a, b, c, d]);
  });

  test('all who wait for one tenant come in with its opening, in one place', async () => {
    const pools = openPools(1);
    const holder = await pools.lease(a);
    const waiting = Promise.all([pools.lease(b), pools.lease(b), pools.lease(b)]);
    holder.release();
    const held = await waiting;
    expect(new Set(held.map(({ pool }) => pool)).size).toBe(1);
    expect(source.asked).toEqual([a, b]);
  });

  test('who waits too long is told that all pools are busy, and holds no place later', async () => {
    const pools = openPools(1, { maxWaitMs: 50 });
    const holder = await pools.lease(a);
    await expect(pools.lease(b)).rejects.toMatchObject({ code: 'POOLS_BUSY', remedy: 'not-now' });
    holder.release();
    await works(await pools.lease(c));
    expect(source.asked).toEqual([a, c]);
  });

  test('a failed opening lets the next waiter in', async () => {
    const pools = openPools(1);
    source.known.delete(b);
    const holder = await pools.lease(a);
    const failing = expect(pools.lease(b)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    const next = pools.lease(c);
    holder.release();
    await failing;
    await works(await next);
  });

  test('a database that has become a black hole gives its place back all the same', async () => {
    const { config, swallow, close } = await throughRelay(configs[0] as TenantConfig);
    source.known.set(a, config);
    const pools = openPools(1);
    await openIdle(pools, a);
    swallow();
    await works(await pools.lease(b));
    close();
  });
});

describe('idle pools', () => {
  const shortly = { MULTI_TENANT_IDLE_TIMEOUT_SEC: '1' };

  test('are closed when nobody used them for the idle time', async () => {
    const pools = openPools(3, {}, shortly);
    await openIdle(pools, a, b);
    await until(() => pools.size === 0);
    expect(await connected()).toEqual([]);
    await works(await pools.lease(a));
  });

  test('are not what is in use again', async () => {
    const pools = openPools(3, {}, shortly);
    await openIdle(pools, a);
    const lease = await pools.lease(a);
    await openIdle(pools, b);
    await until(() => pools.size === 1);
    await works(lease);
    expect(await connected()).toEqual([a]);
  });
});

describe('a tenant that is gone', () => {
  test('loses its idle pool at once', async () => {
    const pools = openPools(3);
    await openIdle(pools, a, b);
    await pools.retire(a);
    expect(await connected()).toEqual([b]);
    await pools.retire(c);
  });

  test('keeps its pool for those who work on it, and loses it when the last one leaves', async () => {
    const pools = openPools(3);
    const [first, second] = await Promise.all([pools.lease(a), pools.lease(a)]);
    await pools.retire(a);
    first.release();
    await works(second);
    second.release();
    await until(() => pools.size === 0);
    expect(await connected()).toEqual([]);
  });

  test('that comes back gets a new pool, once those on the old one have left', async () => {
    const pools = openPools(3);
    const old = await pools.lease(a);
    await pools.retire(a);
    const renewed = pools.lease(a);
    expect(await isPending(renewed)).toBe(true);
    old.release();
    const lease = await renewed;
    await works(lease);
    expect(lease.pool).not.toBe(old.pool);
    expect(source.asked).toEqual([a, a]);
  });

  test('is not put back by an opening that was under way', async () => {
    const pools = openPools(3);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    source.before = () => answer;
    const opening = pools.lease(a);
    await pools.retire(a);
    resolve();
    (await opening).release();
    await until(() => pools.size === 0);
    expect(await connected()).toEqual([]);
  });
});

describe('stopping', () => {
  test('waits for those who hold a pool, and refuses everybody else', async () => {
    const pools = openPools(1);
    const holder = await pools.lease(a);
    const waiter = expect(pools.lease(b)).rejects.toMatchObject({ code: 'SHUTTING_DOWN', remedy: 'not-now' });
    const stopped = pools.closeAll();
    await waiter;
    await expect(pools.lease(a)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    expect(await isPending(stopped)).toBe(true);
    await works(holder);
    holder.release();
    await stopped;
    expect(pools.size).toBe(0);
    expect(await connected()).toEqual([]);
  });

  test('waits for an opening that is under way', async () => {
    const pools = openPools(2);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    source.before = () => answer;
    source.known.delete(b);
    const opening = [pools.lease(a).then((lease) => lease.release()), pools.lease(b).catch(() => {})];
    const stopped = pools.closeAll();
    resolve();
    await Promise.all([stopped, ...opening]);
    expect(await connected()).toEqual([]);
  });
});

/** The same tenant behind a way to its server that can turn into a black hole: everything goes in, nothing comes out. */
async function throughRelay(config: TenantConfig) {
  const { host, port } = config.postgres;
  const sockets: Socket[] = [];
  const relay = createServer((near) => {
    const far = connect({ host, port });
    sockets.push(near, far);
    near.pipe(far);
    far.pipe(near);
    for (const socket of [near, far]) socket.on('error', () => {});
  });
  await once(relay.listen(0, '127.0.0.1'), 'listening');
  return {
    config: {
      ...config,
      postgres: { ...config.postgres, host: '127.0.0.1', port: (relay.address() as AddressInfo).port },
    },
    swallow() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    close() {
      for (const socket of sockets) socket.destroy();
      relay.close();
    },
  };
}
