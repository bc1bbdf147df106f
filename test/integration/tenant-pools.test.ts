import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import type { PoolLease } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { until } from '../support/fleet.ts';
import { openPoolFixture, type PoolFixture, works } from '../support/pools.ts';

vi.setConfig({ testTimeout: 20_000 });

let fixture: PoolFixture;
let a: TenantId;
let b: TenantId;
let c: TenantId;
let d: TenantId;
let e: TenantId;
let ofA: TenantConfig;

beforeAll(async () => {
  fixture = await openPoolFixture();
  [a, b, c, d, e] = fixture.ids;
  [ofA] = fixture.configs;
});
afterAll(() => fixture.close());
afterEach(() => fixture.reset());

describe('opening', () => {
  test('a tenant’s database is opened and migrated on first use, and not before', async () => {
    const onOpen = vi.fn();
    const pools = fixture.pools(3, { onOpen });
    expect(await fixture.connected()).toEqual([]);
    const lease = await pools.lease(a);
    const { rows } = await lease.pool.query(
      'SELECT current_database() AS name, (SELECT count(*)::int FROM jobs) AS jobs',
    );
    expect(rows).toEqual([{ name: lease.config.postgres.database, jobs: 0 }]);
    expect(lease.config.tenantId).toBe(a);
    expect(await fixture.connected()).toEqual([a]);
    expect(onOpen.mock.calls).toEqual([[a]]);
  });

  test('twenty concurrent first uses share one opening: none is made to be thrown away', async () => {
    const pools = fixture.pools(3);
    const held = await Promise.all(Array.from({ length: 20 }, () => pools.lease(a)));
    expect(new Set(held.map(({ pool }) => pool)).size).toBe(1);
    expect(fixture.source.asked).toEqual([a]);
    expect(await fixture.backends(ofA)).toHaveLength(1);
  });

  test('the next use finds the pool open', async () => {
    const pools = fixture.pools(3);
    await fixture.openIdle(pools, a);
    await works(await pools.lease(a));
    expect(fixture.source.asked).toEqual([a]);
  });

  test('a failed opening fails those who share it, is not kept, and holds no place', async () => {
    const pools = fixture.pools(1);
    fixture.source.known.delete(a);
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => pools.lease(a)));
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'TENANT_NOT_FOUND' } });
    expect(fixture.source.asked).toEqual([a]);
    expect(pools.state().open).toBe(0);
    fixture.source.known.set(a, ofA);
    await works(await pools.lease(a));
  });

  test('a database that refuses is “not now”, leaves no connection and makes way for the next tenant', async () => {
    const pools = fixture.pools(1);
    const { postgres, ...rest } = ofA;
    fixture.source.known.set(a, { ...rest, postgres: { ...postgres, password: 'wrong-password' } });
    const refused = pools.lease(a);
    const next = pools.lease(b);
    const error = await refused.catch((error) => error);
    expect(error).toMatchObject({ code: 'DATABASE_UNAVAILABLE', remedy: 'not-now' });
    expect(error.message).not.toContain('wrong-password');
    await works(await next);
    expect(await fixture.connected()).toEqual([b]);
  });

  test('a connection that breaks while its database is opened ends that opening, not the process', async () => {
    const fresh = await fixture.databases.create();
    fixture.source.known.set(fresh.tenantId, fresh);
    const pools = fixture.pools(1);
    // Holds the migration up in the middle.
    const holder = await fixture.databases.connect(fresh);
    await holder.query('BEGIN; CREATE TABLE schema_versions (version integer)');
    const failed = expect(pools.lease(fresh.tenantId)).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      remedy: 'not-now',
    });
    const { pid } = await until(async () => (await fixture.backends(fresh)).find(({ waits }) => waits));
    await fixture.databases.ask('SELECT pg_terminate_backend($1)', [pid]);
    await failed;
    await holder.query('ROLLBACK');
    await works(await pools.lease(fresh.tenantId));
  });

  test('an idle connection that breaks is replaced by the next use', async () => {
    const pools = fixture.pools(1);
    await fixture.openIdle(pools, a);
    for (const { pid } of await fixture.backends(ofA))
      await fixture.databases.ask('SELECT pg_terminate_backend($1)', [pid]);
    await until(async () => (await fixture.backends(ofA)).length === 0);
    const lease = await pools.lease(a);
    await until(() => lease.pool.totalCount === 0);
    await works(lease);
    expect(fixture.source.asked).toEqual([a]);
  });
});

describe('the limit', () => {
  test('is never exceeded, closing pools included: the server sees no more tenants at once', async () => {
    const pools = fixture.pools(2);
    let most = 0;
    // Asked at the moment at which a tenant has been given a place and not connected yet.
    fixture.source.before = async () => {
      const others = await fixture.connected();
      most = Math.max(most, others.length + 1);
    };
    const tenants = fixture.ids;
    const jobs = Array.from({ length: 60 }, async (_, i) => {
      const lease = await pools.lease(tenants[(i * 7) % 5] as TenantId);
      expect(pools.state().open).toBeLessThanOrEqual(2);
      await works(lease);
      lease.release();
    });
    await Promise.all(jobs);
    expect(new Set(fixture.source.asked).size).toBe(5);
    expect(most).toBe(2);
  });

  test('the pool that was left longest ago makes room', async () => {
    const pools = fixture.pools(2);
    const ofA = await pools.lease(a);
    const ofB = await pools.lease(b);
    // Taken first and left last: used more recently than B’s.
    ofB.release();
    ofA.release();
    await works(await pools.lease(c));
    expect(new Set(await fixture.connected())).toEqual(new Set([a, c]));
  });

  test('a pool in use is never closed: not for another tenant, not when one of its users leaves', async () => {
    const pools = fixture.pools(1);
    const first = await pools.lease(a);
    const second = await pools.lease(a);
    const other = pools.lease(b);
    first.release();
    first.release();
    expect(await fixture.isPending(other)).toBe(true);
    await works(second);
    second.release();
    await works(await other);
    expect(await fixture.connected()).toEqual([b]);
  });

  test('as many idle pools are closed as tenants wait, and no more', async () => {
    const pools = fixture.pools(3);
    await fixture.openIdle(pools, a, b, c);
    const [ofD] = await Promise.all([pools.lease(d), pools.lease(e)]);
    await works(ofD);
    expect(new Set(await fixture.connected())).toEqual(new Set([c, d, e]));
  });

  test('who waits is served in order of coming', async () => {
    const pools = fixture.pools(1);
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

  test('a waiter’s place is not taken away before it could use it', async () => {
    const pools = fixture.pools(1);
    const holder = await pools.lease(a);
    const used: TenantId[] = [];
    const waiting = [b, c, d, b, c, d].map(async (tenantId) => {
      const lease = await pools.lease(tenantId);
      await works(lease);
      used.push(lease.config.tenantId);
      lease.release();
    });
    holder.release();
    await Promise.all(waiting);
    // Each opened once: those who wait for the same tenant use the place together.
    expect(used).toEqual([b, b, c, c, d, d]);
    expect(fixture.source.asked).toEqual([a, b, c, d]);
  });

  test('all who wait for one tenant come in with its opening, in one place', async () => {
    const pools = fixture.pools(1);
    const holder = await pools.lease(a);
    const waiting = Promise.all([pools.lease(b), pools.lease(b), pools.lease(b)]);
    holder.release();
    const held = await waiting;
    expect(new Set(held.map(({ pool }) => pool)).size).toBe(1);
    expect(fixture.source.asked).toEqual([a, b]);
  });

  test('who waits too long is told that all pools are busy, and holds no place later', async () => {
    const pools = fixture.pools(1, { maxWaitMs: 1000 });
    const holder = await pools.lease(a);
    await expect(pools.lease(b)).rejects.toMatchObject({ code: 'POOLS_BUSY', remedy: 'not-now' });
    holder.release();
    await works(await pools.lease(c));
    expect(fixture.source.asked).toEqual([a, c]);
  });

  test('a failed opening lets the next waiter in', async () => {
    const pools = fixture.pools(1);
    fixture.source.known.delete(b);
    const holder = await pools.lease(a);
    const failing = expect(pools.lease(b)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    const next = pools.lease(c);
    holder.release();
    await failing;
    await works(await next);
  });
});

describe('what is seen of them', () => {
  test('places by state, those who wait, and what goes on in a tenant’s pool', async () => {
    const metrics = createMetrics();
    const pools = fixture.pools(2, { metrics, maxWaitMs: 1000 });
    expect(pools.poolOf(a)).toBeUndefined();
    const lease = await pools.lease(a);
    await fixture.openIdle(pools, b);
    expect(pools.state()).toEqual({ open: 2, leased: 1, closing: 0, waiting: 0 });
    expect(pools.tenants()).toEqual([a, b]);
    const client = await lease.pool.connect();
    expect(pools.poolOf(a)).toEqual({
      leases: 1,
      connections: 1,
      idle: 0,
      waiting: 0,
      max: lease.config.limits.maxOpenConns,
    });
    client.release();
    const held = await pools.lease(b);
    const waiter = pools.lease(c);
    expect(pools.state()).toEqual({ open: 2, leased: 2, closing: 0, waiting: 1 });
    expect(await metrics.registry.metrics()).toContain('matcher_tenant_pool_waiters 1');
    await expect(waiter).rejects.toMatchObject({ code: 'POOLS_BUSY' });
    fixture.source.known.delete(d);
    held.release();
    await expect(pools.lease(d)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    const text = await metrics.registry.metrics();
    expect(text).toContain('tenant_connections_total 2');
    expect(text).toContain('tenant_connection_errors_total{resource="postgresql",code="TENANT_NOT_FOUND"} 1');
    expect(text).toContain('matcher_tenant_pools_closed_total{reason="limit"} 1');
    expect(text).toContain('matcher_tenant_pools{state="leased"} 1');
    expect(text).toContain('matcher_tenant_pool_waiters 0');
    // Those of A, B, B, the one in vain, and D.
    expect(text).toContain('matcher_tenant_pool_wait_seconds_count 5');
  });
});
