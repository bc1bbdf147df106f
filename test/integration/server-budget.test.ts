import type { PoolLease } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { until } from '../support/fleet.ts';
import { openPoolFixture, type PoolFixture, works } from '../support/pools.ts';

vi.setConfig({ testTimeout: 30_000 });

let fixture: PoolFixture;

/** Two pools of two connections: four to the server, whatever the tenants’ own settings say. */
const budget = { POSTGRES_MAX_OPEN_CONNS: '2', POSTGRES_CONNECT_TIMEOUT_SEC: '10' };

beforeAll(async () => {
  fixture = await openPoolFixture();
});
afterAll(() => fixture.close());
afterEach(() => fixture.reset());

/** Makes the first two tenants ones that may have more connections than a process has for both. */
function greedy(): [TenantConfig, TenantConfig] {
  const configs = fixture.configs.slice(0, 2).map((config) => ({
    ...config,
    limits: { maxOpenConns: 10, maxIdleConns: 10 },
  }));
  for (const config of configs) fixture.source.known.set(config.tenantId, config);
  return configs as [TenantConfig, TenantConfig];
}

/** Watches how many connections the tenants have, as the server sees it. */
function watch() {
  let going = true;
  let most = 0;
  const watching = (async () => {
    while (going) {
      const [row] = await fixture.databases.ask<{ count: number }>(
        `SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = ANY($1) AND application_name = 'matcher'`,
        [fixture.configs.map(({ postgres }) => postgres.database)],
      );
      most = Math.max(most, row?.count ?? 0);
    }
  })();
  return async () => {
    going = false;
    await watching;
    return most;
  };
}

const queries = ({ pool }: PoolLease, count: number, seconds: number) =>
  Promise.all(Array.from({ length: count }, () => pool.query('SELECT pg_sleep($1)', [seconds])));

test('tenants whose own limits are larger do not exhaust their server together', async () => {
  const [a, b] = greedy();
  const pools = fixture.pools(2, {}, budget);
  const [ofA, ofB] = [await pools.lease(a.tenantId), await pools.lease(b.tenantId)];
  const most = watch();
  await Promise.all([queries(ofA, 30, 0.05), queries(ofB, 30, 0.05), queries(ofA, 30, 0.05)]);
  expect(await most()).toBe(4);
});

test('a tenant may have more than its part as long as nobody else needs it', async () => {
  const [a] = greedy();
  const pools = fixture.pools(2, {}, budget);
  const ofA = await pools.lease(a.tenantId);
  const running = queries(ofA, 4, 1);
  await until(async () => (await fixture.backends(a)).length === 4);
  await running;
});

test('a flood of one tenant gives the next one its part at once, not when the flood is over', async () => {
  const [a, b] = greedy();
  const pools = fixture.pools(2, {}, budget);
  const ofA = await pools.lease(a.tenantId);
  let ended = false;
  const flood = queries(ofA, 200, 0.05).finally(() => {
    ended = true;
  });
  await until(async () => (await fixture.backends(a)).length === 4);
  const ofB = await pools.lease(b.tenantId);
  await queries(ofB, 4, 0.01);
  expect(ended).toBe(false);
  expect((await fixture.backends(a)).length).toBeLessThan(4);
  await flood;
});

test('two floods at the same time share the server, and none of their queries is refused', async () => {
  const [a, b] = greedy();
  const pools = fixture.pools(2, {}, { ...budget, POSTGRES_CONNECT_TIMEOUT_SEC: '4' });
  const leases = [await pools.lease(a.tenantId), await pools.lease(b.tenantId)];
  const most = watch();
  // Longer than a connection may take: whoever waited for one of its own would fail.
  await Promise.all(
    leases.flatMap((lease) =>
      Array.from({ length: 10 }, async () => {
        for (let i = 0; i < 30; i++) await queries(lease, 1, 0.05);
      }),
    ),
  );
  expect(await most()).toBe(4);
});

test('idle connections of one tenant are closed for another one', async () => {
  const [a, b] = greedy();
  const pools = fixture.pools(2, {}, budget);
  const ofA = await pools.lease(a.tenantId);
  await queries(ofA, 4, 0.2);
  expect(pools.poolOf(a.tenantId)).toMatchObject({ connections: 4, idle: 4 });
  const ofB = await pools.lease(b.tenantId);
  await queries(ofB, 3, 0.2);
  expect((await fixture.backends(a)).length).toBeLessThanOrEqual(2);
  await works(ofA);
});

test('who waits in vain is told what to do, in time, and its job is put off', async () => {
  const [a, b] = greedy();
  const pools = fixture.pools(2, {}, { ...budget, POSTGRES_CONNECT_TIMEOUT_SEC: '1' });
  const ofA = await pools.lease(a.tenantId);
  const held = [];
  for (let i = 0; i < 4; i++) held.push(await ofA.pool.connect());
  await expect(pools.lease(b.tenantId)).rejects.toMatchObject({
    code: 'DATABASE_CONNECTIONS_EXHAUSTED',
    remedy: 'not-now',
    hint: expect.stringContaining('POSTGRES_MAX_OPEN_CONNS'),
  });
  for (const client of held) client.release();
  await works(await pools.lease(b.tenantId));
});

test('transactions keep to the tenant’s part, so that short statements always get through', async () => {
  const [a] = greedy();
  const pools = fixture.pools(2, {}, { ...budget, POSTGRES_MAX_OPEN_CONNS: '3' });
  const { db } = await pools.lease(a.tenantId);
  const { promise: enough, resolve: end } = Promise.withResolvers<void>();
  let begun = 0;
  const transact = (signal?: AbortSignal) =>
    db.transaction(async () => {
      begun++;
      await enough;
    }, signal);
  const first = [transact(), transact()];
  await until(() => begun === 2);
  const third = new AbortController();
  const waiting = transact(third.signal);
  expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  expect(await fixture.isPending(waiting)).toBe(true);
  third.abort(new Error('enough'));
  await expect(waiting).rejects.toThrow('enough');
  end();
  await Promise.all(first);
  expect(begun).toBe(2);
});

test('connections that were refused or broken off do not count any more', async () => {
  const [a, b] = greedy();
  const pools = fixture.pools(2, {}, budget);
  const wrong = { ...b, postgres: { ...b.postgres, password: 'not-that-one' } };
  fixture.source.known.set(b.tenantId, wrong);
  for (let i = 0; i < 5; i++) await expect(pools.lease(b.tenantId)).rejects.toThrow();
  const ofA = await pools.lease(a.tenantId);
  for (let i = 0; i < 5; i++) {
    await queries(ofA, 1, 0);
    for (const { pid } of await fixture.backends(a))
      await fixture.databases.ask('SELECT pg_terminate_backend($1)', [pid]);
    await until(() => ofA.pool.totalCount === 0);
  }
  const running = queries(ofA, 4, 0.5);
  await until(async () => (await fixture.backends(a)).length === 4);
  await running;
});
