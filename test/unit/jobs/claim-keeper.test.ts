import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ClaimKeeper } from '@matcher/shared/jobs/claim-keeper.ts';
import { FairSlots } from '@matcher/shared/jobs/fair-slots.ts';
import { JobSlot } from '@matcher/shared/jobs/job-slot.ts';
import type { Claim } from '@matcher/shared/jobs/record.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { expect, test } from 'vitest';
import { testLog } from '../../support/test-log.ts';

/** It is stopped before it looks for the first time: neither database nor claim is touched. */
function keeperOf(ending: AbortSignal): ClaimKeeper {
  const slots = new FairSlots({ total: 1, perTenant: 1 });
  const slot = new JobSlot(slots, { tenantId: 'a' as TenantId, weight: 1 }, { silent: false });
  const long = async () => {};
  const options = { leaseSec: 3, deadlineSec: 60, slot, ending, long, log: testLog().log };
  return new ClaimKeeper({} as TenantDatabase, {} as Claim, options);
}

test('a process that must stop says so to its jobs, also to one that begins later', () => {
  const ending = new AbortController();
  const keepers = [keeperOf(ending.signal)];
  ending.abort(new Error('stopping'));
  keepers.push(keeperOf(ending.signal));
  for (const keeper of keepers) {
    expect(keeper.signal.reason).toMatchObject({ message: 'stopping' });
    keeper.stop();
  }
});

test('what a handler left on its job’s signal is not kept for as long as the process lives', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const ending = new AbortController();
  const left = (() => {
    const keeper = keeperOf(ending.signal);
    const listener = () => keeper;
    keeper.signal.addEventListener('abort', listener);
    keeper.stop();
    return new WeakRef(listener);
  })();
  while (left.deref() !== undefined) {
    await turn();
    collect();
  }
  expect(getEventListeners(ending.signal, 'abort')).toEqual([]);
});
