import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
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
let ofA: TenantConfig;
const relays: (() => void)[] = [];

beforeAll(async () => {
  fixture = await openPoolFixture();
  [a, b, c] = fixture.ids;
  [ofA] = fixture.configs;
});
afterAll(() => fixture.close());
afterEach(async () => {
  await fixture.reset();
  for (const close of relays.splice(0)) close();
});

describe('idle pools', () => {
  const shortly = { MULTI_TENANT_IDLE_TIMEOUT_SEC: '1' };

  test('are closed when nobody used them for the idle time', async () => {
    const pools = fixture.pools(3, {}, shortly);
    await fixture.openIdle(pools, a, b);
    await until(() => pools.state().open === 0);
    expect(await fixture.connected()).toEqual([]);
    await works(await pools.lease(a));
  });

  test('are not what is in use again', async () => {
    const pools = fixture.pools(3, {}, shortly);
    await fixture.openIdle(pools, a);
    const lease = await pools.lease(a);
    await fixture.openIdle(pools, b);
    await until(() => pools.state().open === 1);
    await works(lease);
    expect(await fixture.connected()).toEqual([a]);
    expect((await pools.lease(a)).pool).toBe(lease.pool);
  });
});

describe('a tenant that is gone', () => {
  test('loses its idle pool at once', async () => {
    const pools = fixture.pools(3);
    await fixture.openIdle(pools, a, b);
    await pools.retire(a);
    expect(await fixture.connected()).toEqual([b]);
    await pools.retire(c);
  });

  test('keeps its pool for those who work on it, and loses it when the last one leaves', async () => {
    const pools = fixture.pools(3);
    const [first, second] = await Promise.all([pools.lease(a), pools.lease(a)]);
    await pools.retire(a);
    first.release();
    await works(second);
    second.release();
    await until(() => pools.state().open === 0);
    expect(await fixture.connected()).toEqual([]);
  });

  test('that comes back gets a new pool, and does not wait for those on the old one', async () => {
    const pools = fixture.pools(2);
    const old = await pools.lease(a);
    await pools.retire(a);
    const renewed = await pools.lease(a);
    expect(renewed.pool).not.toBe(old.pool);
    await works(old);
    await works(renewed);
    expect(pools.state()).toMatchObject({ open: 2, leased: 2 });
    // The old one is closed by whoever leaves it last, and nobody is sent back to it.
    old.release();
    await until(() => pools.state().open === 1);
    expect((await pools.lease(a)).pool).toBe(renewed.pool);
    expect(fixture.source.asked).toEqual([a, a]);
  });

  test('is not put back by an opening that was under way, and what began before is not let in', async () => {
    const pools = fixture.pools(3);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    fixture.source.before = () => answer;
    const opening = pools.lease(a);
    await pools.retire(a);
    resolve();
    await expect(opening).rejects.toMatchObject({ code: 'TENANT_REMOVED', remedy: 'not-now' });
    await until(() => pools.state().open === 0);
    expect(await fixture.connected()).toEqual([]);
  });

  test('that comes back during its opening gets another one', async () => {
    const pools = fixture.pools(3);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    fixture.source.before = () => answer;
    const opening = pools.lease(a);
    await pools.retire(a);
    const renewed = pools.lease(a);
    resolve();
    await expect(opening).rejects.toMatchObject({ code: 'TENANT_REMOVED' });
    await works(await renewed);
    await until(() => pools.state().open === 1);
    expect(fixture.source.asked).toEqual([a, a]);
  });

  test('does not wait for a place any longer', async () => {
    const pools = fixture.pools(1);
    const holder = await pools.lease(a);
    const waiting = expect(pools.lease(b)).rejects.toMatchObject({ code: 'TENANT_REMOVED' });
    await pools.retire(b);
    await waiting;
    holder.release();
    await works(await pools.lease(c));
    expect(fixture.source.asked).toEqual([a, c]);
  });
});

describe('a database that has become a black hole', () => {
  test('gives its place back all the same', async () => {
    const { config, swallow } = await throughRelay(ofA);
    fixture.source.known.set(a, config);
    const pools = fixture.pools(1);
    await fixture.openIdle(pools, a);
    swallow();
    await works(await pools.lease(b));
  });

  test('stalls nobody else while it is closed', async () => {
    const { config, swallow } = await throughRelay(ofA);
    fixture.source.known.set(a, config);
    const pools = fixture.pools(2);
    await fixture.openIdle(pools, a);
    swallow();
    const retired = pools.retire(a);
    for (const tenantId of [b, c, b]) {
      const lease = await pools.lease(tenantId);
      await works(lease);
      lease.release();
    }
    expect(pools.state()).toEqual({ open: 2, leased: 0, closing: 1, waiting: 0 });
    await retired;
    expect(pools.state()).toEqual({ open: 1, leased: 0, closing: 0, waiting: 0 });
  });

  test('in the middle of a query is closed all the same, and the query ends with it', async () => {
    const { config, swallow } = await throughRelay(ofA);
    fixture.source.known.set(a, config);
    const pools = fixture.pools(1);
    const lease = await pools.lease(a);
    swallow();
    const query = expect(lease.pool.query('SELECT 1')).rejects.toThrow();
    await until(() => lease.pool.idleCount === 0 && lease.pool.waitingCount === 0);
    const retired = pools.retire(a);
    lease.release();
    await works(await pools.lease(b));
    await query;
    await retired;
  });
});

describe('stopping', () => {
  test('waits for those who hold a pool, and refuses everybody else', async () => {
    const pools = fixture.pools(1);
    const holder = await pools.lease(a);
    const waiter = expect(pools.lease(b)).rejects.toMatchObject({ code: 'SHUTTING_DOWN', remedy: 'not-now' });
    const stopped = pools.closeAll();
    await waiter;
    await expect(pools.lease(a)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    expect(await fixture.isPending(stopped)).toBe(true);
    await works(holder);
    holder.release();
    await stopped;
    expect(pools.state().open).toBe(0);
    expect(await fixture.connected()).toEqual([]);
  });

  test('waits for an opening that is under way', async () => {
    const pools = fixture.pools(2);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    fixture.source.before = () => answer;
    fixture.source.known.delete(b);
    const opening = Promise.allSettled([pools.lease(a), pools.lease(b)]);
    const stopped = pools.closeAll();
    resolve();
    await stopped;
    expect(await opening).toMatchObject([
      { reason: { code: 'SHUTTING_DOWN' } },
      { reason: { code: 'TENANT_NOT_FOUND' } },
    ]);
    expect(await fixture.connected()).toEqual([]);
  });
});

/** The same tenant behind a way to its server that can turn into a black hole: everything goes in, nothing comes out, not even an end. */
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
  relays.push(() => {
    for (const socket of sockets) socket.destroy();
    relay.close();
  });
  await once(relay.listen(0, '127.0.0.1'), 'listening');
  const relayed = { host: '127.0.0.1', port: (relay.address() as AddressInfo).port };
  return {
    config: { ...config, postgres: { ...config.postgres, ...relayed } },
    swallow() {
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}
