import { setTimeout as delay } from 'node:timers/promises';
import type { PoolLease, TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { until } from '../support/fleet.ts';
import { openPoolFixture, type PoolFixture, works } from '../support/pools.ts';

vi.setConfig({ testTimeout: 20_000 });

let fixture: PoolFixture;
let a: TenantId;
let b: TenantId;
let c: TenantId;

beforeAll(async () => {
  fixture = await openPoolFixture();
  [a, b, c] = fixture.ids;
});
afterAll(() => fixture.close());
afterEach(() => fixture.reset());

/** Keeps a tenant's pool in use: the next lease is asked for while the last one is still held. */
function overlap(pools: TenantPools, tenantId: TenantId) {
  let going = true;
  const counts = { leases: 0, refused: 0 };
  const run = (async () => {
    let last: PoolLease | undefined;
    while (going) {
      const next = await pools.lease(tenantId).catch(() => undefined);
      if (next) counts.leases++;
      else counts.refused++;
      last?.release();
      last = next;
      await delay(20);
    }
    last?.release();
  })();
  const stop = async () => {
    going = false;
    await run;
  };
  return { counts, stop };
}

/** Leases that overlap, and each of which ends by itself after a while. */
function overlapFreely(pools: TenantPools, tenantId: TenantId) {
  let going = true;
  const counts = { leases: 0, refused: 0 };
  const one = async () => {
    while (going) {
      try {
        const lease = await pools.lease(tenantId);
        counts.leases++;
        await delay(100);
        lease.release();
      } catch {
        counts.refused++;
        await delay(20);
      }
    }
  };
  const run = Promise.all([one(), delay(50).then(one)]);
  return {
    counts,
    async stop() {
      going = false;
      await run;
    },
  };
}

test('a tenant whose leases overlap without a break keeps nobody out, and goes on afterwards', async () => {
  const pools = fixture.pools(1);
  const busy = overlapFreely(pools, a);
  await until(() => busy.counts.leases > 3);
  expect(pools.poolOf(a)?.leases).toBeGreaterThan(0);
  const lease = await pools.lease(b);
  await works(lease);
  expect(pools.tenants()).toEqual([b]);
  const before = busy.counts.leases;
  lease.release();
  await until(() => busy.counts.leases > before + 3);
  await busy.stop();
  expect(busy.counts.refused).toBe(0);
});

test('two tenants that both overlap without a break take turns with a third', async () => {
  const pools = fixture.pools(1);
  const busy = [a, b].map((tenantId) => overlapFreely(pools, tenantId));
  for (let i = 0; i < 2; i++) {
    const lease = await pools.lease(c);
    await works(lease);
    lease.release();
  }
  await until(() => busy.every(({ counts }) => counts.leases > 5));
  await Promise.all(busy.map(({ stop }) => stop()));
  for (const { counts } of busy) expect(counts.refused).toBe(0);
});

test('whoever holds one lease while it asks for the next is put off at most as long as anybody waits', async () => {
  // It waits behind the other tenant, which waits for it: only the bounded wait ends that.
  const pools = fixture.pools(1, { maxWaitMs: 1500 });
  const busy = overlap(pools, a);
  await until(() => busy.counts.leases > 3);
  const error = await pools.lease(b).catch((error) => error);
  expect(error).toMatchObject({ code: 'POOLS_BUSY', remedy: 'not-now' });
  const before = busy.counts.leases;
  await until(() => busy.counts.leases > before);
  await busy.stop();
  // It came after the other and has its turn as soon as that one has given up.
  expect(busy.counts.refused).toBe(0);
});

test('a pool that has not had its turn lets its tenant in although somebody waits', async () => {
  const pools = fixture.pools(1);
  const first = await pools.lease(a);
  const waiter = pools.lease(b);
  const second = await pools.lease(a);
  expect(pools.state()).toMatchObject({ leased: 1, waiting: 1 });
  first.release();
  second.release();
  await works(await waiter);
});
