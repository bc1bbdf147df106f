import { MatcherError, remedyFor } from '@matcher/shared/errors.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import type { TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { until } from '../support/fleet.ts';
import { openPoolFixture, type PoolFixture, works } from '../support/pools.ts';

vi.setConfig({ testTimeout: 20_000 });

let fixture: PoolFixture;
let a: TenantId;
let b: TenantId;
let c: TenantId;
/** A’s configuration, with a role of its own; what is true when a test begins. */
let ofA: TenantConfig;

beforeAll(async () => {
  fixture = await openPoolFixture();
  [a, b, c] = fixture.ids;
  ofA = await fixture.databases.withOwnRole(fixture.configs[0]);
});
afterAll(() => fixture.close());
beforeEach(() => fixture.source.known.set(a, ofA));
afterEach(async () => {
  await fixture.reset();
  await setPassword(ofA.postgres.password);
});

const setPassword = (password: string) =>
  fixture.databases.ask(`ALTER ROLE ${ofA.postgres.user} PASSWORD '${password}'`);

function withPassword(password: string): TenantConfig {
  return { ...ofA, postgres: { ...ofA.postgres, password } };
}

/** The server takes the new password from now on, and the Tenant Manager tells it. */
async function rotate(password: string): Promise<TenantConfig> {
  await setPassword(password);
  const config = withPassword(password);
  fixture.source.known.set(a, config);
  return config;
}

const withLimits = (maxOpenConns: number): TenantConfig => ({ ...ofA, limits: { ...ofA.limits, maxOpenConns } });

/** Ends A’s connections on the server, so that its pool has to open new ones. */
async function cutConnections() {
  for (const { pid } of await fixture.backends(ofA))
    await fixture.databases.ask('SELECT pg_terminate_backend($1)', [pid]);
  await until(async () => (await fixture.backends(ofA)).length === 0);
}

describe('changed credentials', () => {
  test('a new pool takes over, what is in progress ends on the old one, which then closes', async () => {
    const metrics = createMetrics();
    const pools = fixture.pools(2, { metrics });
    const old = await pools.lease(a);
    const client = await old.pool.connect();
    await client.query('BEGIN; CREATE TEMPORARY TABLE work (done boolean)');
    pools.refresh(await rotate('rotated'));
    const renewed = await until(async () => {
      const lease = await pools.lease(a);
      if (lease.pool !== old.pool) return lease;
      lease.release();
      return undefined;
    });
    expect(renewed.config.postgres.password).toBe('rotated');
    await works(renewed);
    await client.query('INSERT INTO work VALUES (true); COMMIT');
    client.release();
    expect(pools.state()).toMatchObject({ open: 2, leased: 2 });
    old.release();
    await until(() => pools.state().open === 1);
    await works(renewed);
    expect(await metrics.registry.metrics()).toContain('matcher_tenant_rotations_total{resource="postgresql"} 1');
    expect(await metrics.registry.metrics()).toContain('matcher_tenant_pools_closed_total{reason="replaced"} 1');
  });

  test('the old pool is not closed before the new one stands: what does not work changes nothing, and is tried again', async () => {
    const pools = fixture.pools(2);
    const old = await pools.lease(a);
    const wrong = withPassword('not-that-one');
    for (let i = 1; i <= 2; i++) {
      pools.refresh(wrong);
      await until(() => fixture.lines.filter((line) => line.includes('the pool stays as it was')).length === i);
      await until(() => pools.state().open === 1);
      const lease = await pools.lease(a);
      expect(lease.pool).toBe(old.pool);
      await works(lease);
      lease.release();
    }
    const line = fixture.lines.find((line) => line.includes('the pool stays as it was'));
    expect(JSON.parse(line as string)).toMatchObject({ tenantId: a, code: '28P01', level: 'warn' });
    expect(fixture.lines.join()).not.toContain('not-that-one');
    pools.refresh(await rotate('rotated'));
    old.release();
    await until(() => fixture.lines.some((line) => line.includes('"reason":"replaced"')));
    await works(await pools.lease(a));
  });

  test('repeated words of the same change make one new pool', async () => {
    const metrics = createMetrics();
    const pools = fixture.pools(3, { metrics });
    const old = await pools.lease(a);
    await rotate('rotated');
    for (let i = 0; i < 10; i++) pools.refresh(withPassword('rotated'));
    expect(pools.state().open).toBe(2);
    old.release();
    await until(() => pools.state().open === 1 && pools.poolOf(a));
    for (let i = 0; i < 10; i++) pools.refresh(withPassword('rotated'));
    expect(pools.state().open).toBe(1);
    expect(await metrics.registry.metrics()).toContain('tenant_connections_total 2');
  });

  test('a second change during the first is not forgotten', async () => {
    const pools = fixture.pools(3);
    const old = await pools.lease(a);
    pools.refresh(withLimits(7));
    pools.refresh(withLimits(9));
    await until(() => pools.poolOf(a)?.max === 9);
    old.release();
    await until(() => pools.state().open === 1);
    expect(pools.poolOf(a)).toMatchObject({ max: 9 });
  });
});

describe('what is a change', () => {
  test('a limit alone is one; the broker and the slug are none, and are known from then on', async () => {
    const pools = fixture.pools(2);
    const lease = await pools.lease(a);
    const moved = { ...ofA, slug: 'renamed', rabbitmq: { ...ofA.rabbitmq, password: 'other' } };
    pools.refresh(structuredClone(moved));
    const same = await pools.lease(a);
    expect(same.pool).toBe(lease.pool);
    expect(same.config).toEqual(moved);
    expect(pools.state().open).toBe(1);
    pools.refresh(withLimits(4));
    await until(() => pools.poolOf(a)?.max === 4);
  });

  test('of a tenant without a pool, nothing happens', async () => {
    const pools = fixture.pools(2);
    pools.refresh(withLimits(4));
    expect(pools.state().open).toBe(0);
    expect(fixture.source.asked).toEqual([]);
  });

  test('during the opening it is compared when that has ended', async () => {
    const pools = fixture.pools(2);
    const lease = pools.lease(a);
    pools.refresh(withLimits(4));
    expect(pools.state().open).toBe(1);
    await works(await lease);
    await until(() => pools.poolOf(a)?.max === 4);
  });
});

describe('a full fleet', () => {
  test('rotates an idle pool by closing it; the next use opens it anew', async () => {
    const pools = fixture.pools(1);
    await fixture.openIdle(pools, a);
    pools.refresh(await rotate('rotated'));
    await until(() => pools.state().open === 0);
    await works(await pools.lease(a));
  });

  test('rotates a pool in use when a place becomes free, and the place of an idle one is taken for it', async () => {
    const pools = fixture.pools(2);
    const old = await pools.lease(a);
    await fixture.openIdle(pools, b);
    pools.refresh(await rotate('rotated'));
    const lease = await until(async () => {
      const lease = await pools.lease(a);
      if (lease.pool !== old.pool) return lease;
      lease.release();
      return undefined;
    });
    await works(lease);
    await works(old);
    expect(await fixture.connected()).toEqual([a]);
  });

  test('with one single place rotates, too: the old pool has its turn, drains and makes way', async () => {
    const pools = fixture.pools(1);
    const old = await pools.lease(a);
    pools.refresh(await rotate('rotated'));
    // Somebody waits for the place now, and it is the tenant itself that has had its turn.
    expect(pools.state()).toMatchObject({ waiting: 1 });
    await works(old);
    old.release();
    const lease = await pools.lease(a);
    expect(lease.pool).not.toBe(old.pool);
    await works(lease);
    expect(pools.state()).toMatchObject({ open: 1, waiting: 0 });
  });

  test('whose places do not become free in time lets nobody into the old pool any more', async () => {
    const pools = fixture.pools(1, { maxWaitMs: 1000 });
    const old = await pools.lease(a);
    pools.refresh(await rotate('rotated'));
    await until(() => pools.tenants().length === 0);
    await expect(pools.lease(a)).rejects.toMatchObject({ code: 'POOLS_BUSY', remedy: 'not-now' });
    await works(old);
    old.release();
    const lease = await pools.lease(a);
    expect(lease.pool).not.toBe(old.pool);
    await works(lease);
  });

  test('whose tenant is removed meanwhile opens no successor', async () => {
    const pools = fixture.pools(2);
    const old = await pools.lease(a);
    pools.refresh(await rotate('rotated'));
    expect(pools.state().open).toBe(2);
    // Used more recently than the successor.
    (await pools.lease(a)).release();
    await pools.retire(a);
    old.release();
    await until(() => pools.state().open === 0);
    expect(await fixture.connected()).toEqual([]);
    await works(await pools.lease(a));
  });
});

describe('credentials that PostgreSQL refuses', () => {
  test('for a new connection of an open pool: its job is put off, and a pool with new ones takes over, although the old one is still held', async () => {
    const metrics = createMetrics();
    const refused = vi.fn(async (tenantId: TenantId) => pools.refresh(await fixture.source.refresh(tenantId)));
    const pools: TenantPools = fixture.pools(2, { onRefused: refused, metrics });
    fixture.source.stale.set(a, ofA);
    const job = await pools.lease(a);
    const client = await job.pool.connect();
    await rotate('rotated');
    const error = await job.pool.query('SELECT 1').catch((error) => error);
    expect(error).toMatchObject({ code: '28P01' });
    expect(remedyFor(error)).toBe('not-now');
    expect(refused.mock.calls).toEqual([[a]]);
    const next = await until(async () => {
      const lease = await pools.lease(a);
      if (lease.pool !== job.pool) return lease;
      lease.release();
      return undefined;
    });
    expect(next.config.postgres.password).toBe('rotated');
    await works(next);
    // What has a connection may go on with it.
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    client.release();
    job.release();
    await until(() => pools.state().open === 1);
    expect(await metrics.registry.metrics()).toContain(
      'tenant_connection_errors_total{resource="postgresql",code="28P01"} 1',
    );
  });

  test('although the configuration says the same: the pool stays, what it has goes on, and it works again when they are taken again', async () => {
    const metrics = createMetrics();
    const refused = vi.fn(async (tenantId: TenantId) => pools.refresh(await fixture.source.refresh(tenantId)));
    const pools: TenantPools = fixture.pools(2, { onRefused: refused, metrics });
    const job = await pools.lease(a);
    const client = await job.pool.connect();
    await setPassword('known to nobody');
    for (let i = 1; i <= 3; i++) {
      expect(await job.pool.query('SELECT 1').catch((error) => error)).toMatchObject({ code: '28P01' });
      expect(refused).toHaveBeenCalledTimes(i);
    }
    await Promise.all(refused.mock.results.map(({ value }) => value));
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    client.release();
    await setPassword(ofA.postgres.password);
    const next = await pools.lease(a);
    expect(next.pool).toBe(job.pool);
    await works(next);
    expect(pools.state()).toEqual({ open: 1, leased: 1, closing: 0, waiting: 0 });
    const levels = fixture.lines.filter((line) => line.includes('refuses new')).map((line) => JSON.parse(line).level);
    expect(levels).toEqual(['warn', 'debug', 'debug']);
    expect(await metrics.registry.metrics()).not.toContain('tenant_rotations_total{');
  });

  test('at the opening are asked for anew at once: a rotation costs no job', async () => {
    fixture.source.stale.set(a, ofA);
    await rotate('rotated');
    const pools = fixture.pools(1);
    const [lease] = await Promise.all([pools.lease(a), pools.lease(a)]);
    await works(lease);
    expect(fixture.source.asked).toEqual([a]);
    expect(fixture.source.refreshed).toEqual([a]);
  });

  test('at the opening, and nothing newer is known: one question and no second attempt', async () => {
    fixture.source.known.set(a, withPassword('not-that-one'));
    const pools = fixture.pools(1);
    await expect(pools.lease(a)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', remedy: 'not-now' });
    expect(fixture.source.refreshed).toEqual([a]);
  });

  test('with the Tenant Manager away are the database’s failure, not the Tenant Manager’s', async () => {
    fixture.source.stale.set(a, withPassword('not-that-one'));
    fixture.source.before = async () => {
      throw new MatcherError('TENANT_MANAGER_UNAVAILABLE', 'It is away', { remedy: 'not-now' });
    };
    const pools = fixture.pools(1);
    await expect(pools.lease(a)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  });

  test('a database that has moved is found in the same way', async () => {
    fixture.source.stale.set(a, { ...ofA, postgres: { ...ofA.postgres, database: 'moved_away' } });
    const pools = fixture.pools(1);
    await works(await pools.lease(a));
    expect(fixture.source.refreshed).toEqual([a]);
  });
});

describe('busy is not sick', () => {
  test('a pool whose connections are all taken is neither closed nor rebuilt by being looked at', async () => {
    const config = withLimits(2);
    fixture.source.known.set(a, config);
    const pools = fixture.pools(2);
    const lease = await pools.lease(a);
    const taken = [await lease.pool.connect(), await lease.pool.connect()];
    const waiting = lease.pool.query('SELECT 1 AS one');
    for (let i = 0; i < 5; i++) pools.refresh(structuredClone(config));
    expect(pools.poolOf(a)).toEqual({ leases: 1, connections: 2, idle: 0, waiting: 1, max: 2 });
    expect(pools.state().open).toBe(1);
    for (const client of taken) client.release();
    expect((await waiting).rows).toEqual([{ one: 1 }]);
    const next = await pools.lease(a);
    expect(next.pool).toBe(lease.pool);
  });

  test('a job that is cancelled destroys nobody else’s pool', async () => {
    const pools = fixture.pools(2);
    const [cancelled, other] = await Promise.all([pools.lease(a), pools.lease(a)]);
    const running = cancelled.pool.query('SELECT pg_sleep(60)').catch((error) => error);
    await until(async () =>
      (
        await fixture.databases.ask(
          `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND usename = $1`,
          [ofA.postgres.user],
        )
      ).at(0),
    );
    expect(await running).toMatchObject({ code: '57014' });
    cancelled.release();
    await works(other);
    expect((await pools.lease(a)).pool).toBe(other.pool);
    await works(await pools.lease(c));
  });
});

test('connections that break do not close a pool: it goes on with new ones', async () => {
  const pools = fixture.pools(1);
  const lease = await pools.lease(a);
  await works(lease);
  await cutConnections();
  await until(() => lease.pool.totalCount === 0);
  await works(lease);
  expect((await pools.lease(a)).pool).toBe(lease.pool);
});
