import type { Settings } from '@matcher/shared/config/variables.ts';
import type { OpenedPool } from '@matcher/shared/postgres/open-pool.ts';
import { TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { testLog } from '../../support/test-log.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A tenant that has always something to do: so many jobs at a time, each of which holds its lease for so long (ms). */
const load = fc.record({ jobs: fc.integer({ min: 1, max: 4 }), holdMs: fc.integer({ min: 20, max: 700 }) });

test('however the leases of busy tenants overlap, every lease comes in before its time is up', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(load, { minLength: 1, maxLength: 5 }),
      async (limit, loads) => {
        const open = async (tenantId: TenantId) =>
          ({ pool: {}, config: { tenantId }, close: () => pause(20) }) as unknown as OpenedPool;
        const settings = { MULTI_TENANT_MAX_TENANT_POOLS: limit, MULTI_TENANT_IDLE_TIMEOUT_SEC: 300 } as Settings;
        const pools = new TenantPools({} as TenantSource, settings, testLog().log, { open });
        let going = true;
        let longest = 0;
        const done = loads.map(() => 0);
        const work = loads.flatMap(({ jobs, holdMs }, i) =>
          Array.from({ length: jobs }, async (_, job) => {
            await pause((job * holdMs) / jobs);
            while (going) {
              const asked = performance.now();
              const lease = await pools.lease(`tenant-${i}` as TenantId);
              longest = Math.max(longest, performance.now() - asked);
              await pause(holdMs);
              lease.release();
              (done[i] as number)++;
            }
          }),
        );
        await vi.advanceTimersByTimeAsync(30_000);
        going = false;
        await vi.advanceTimersByTimeAsync(15_000);
        // POOLS_BUSY would be thrown here.
        await Promise.all(work);
        expect(Math.min(...done)).toBeGreaterThan(0);
        // A turn, and the end of what was begun in it, for everybody else.
        expect(longest).toBeLessThanOrEqual(loads.length * (1000 + 700 + 20));
      },
    ),
    { numRuns: 25 },
  );
});
