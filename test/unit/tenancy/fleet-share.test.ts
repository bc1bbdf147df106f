import { once } from 'node:events';
import { type FleetMember, FleetShare, fleetTiming } from '@matcher/shared/tenancy/fleet-share.ts';
import { afterEach, expect, test } from 'vitest';
import { newTenantId } from '../../support/databases.ts';
import { until } from '../../support/fleet.ts';
import { testLog } from '../../support/test-log.ts';

const tenants = Array.from({ length: 100 }, newTenantId);
const member = (id: string, said: Partial<FleetMember> = {}): FleetMember => ({
  id,
  jobs: ['a', 'b'],
  eligible: true,
  settled: true,
  busy: [],
  ...said,
});
const three = ['one', 'two', 'three'].map((id) => member(id));

const running: FleetShare[] = [];
afterEach(async () => {
  for (const share of running.splice(0)) await share.stop();
});

/** @param seen what each look finds, undefined for nobody who answers; the last one again and again. */
function start(seen: (FleetMember[] | undefined)[], timing = {}, limit = 10) {
  const told: FleetMember[] = [];
  const share = new FleetShare({
    self: { id: 'self', jobs: ['b', 'a'] },
    own: () => ({ eligible: true, settled: true, busy: [] }),
    async exchange(own) {
      told.push(own);
      const found = seen[Math.min(told.length, seen.length) - 1];
      if (!found) throw new Error('away');
      return found;
    },
    active: new Set(tenants),
    limit,
    timing: { ...fleetTiming, look: 1, ...timing },
    log: testLog().log,
  });
  running.push(share);
  share.start();
  return {
    share,
    told,
    looked: () => once(share, 'looked'),
    size: () => tenants.filter((one) => share.has(one)).length,
  };
}

test('a start does not begin with every tenant there is, when the others are there to be seen', async () => {
  const { size, looked, told } = start([three]);
  expect(size()).toBe(0);
  await looked();
  expect(size()).toBeGreaterThan(0);
  expect(size()).toBeLessThan(100);
  // Nobody leaves anything to a process that does not know yet what is its own.
  await until(() => told.length > 1);
  expect(told.slice(0, 2).map(({ eligible }) => eligible)).toEqual([false, true]);
});

test('a start without Redis serves everything after a moment', async () => {
  const { size, looked } = start([undefined], { first: 100 });
  expect(size()).toBe(0);
  await looked();
  expect(size()).toBe(100);
});

test('few tenants are served by everybody, whoever is there', async () => {
  const { size, looked } = start([three], {}, 100);
  expect(size()).toBe(100);
  await looked();
  expect(size()).toBe(100);
});

test('who stops, knows nothing yet or does other jobs is nobody’s home', async () => {
  const { size, looked } = start([
    [member('one', { eligible: false }), member('two', { jobs: ['a'] }), member('self')],
  ]);
  await looked();
  expect(size()).toBe(100);
});

test('a Redis that comes back empty does not make each process take itself for the only one', async () => {
  const { size, looked, told } = start([three, three, undefined, []]);
  await looked();
  const share = size();
  await until(() => told.length >= 6);
  expect(size()).toBe(share);
});

test('one that is gone is not waited for when Redis was there all the time', async () => {
  const { size, looked } = start([three, []]);
  await looked();
  await looked();
  expect(size()).toBe(100);
});

test('others that can’t be seen are counted on for a while only', async () => {
  const { size, looked } = start([three, undefined], { memory: 100 });
  await looked();
  expect(size()).toBeLessThan(100);
  await until(() => size() === 100);
});

test('a stop is told, so that nobody counts on this process any more', async () => {
  const { share, looked, told } = start([three]);
  await looked();
  await share.stop();
  expect(told.at(-1)).toMatchObject({ id: 'self', eligible: false });
});
