import { visitSpread } from '@matcher/shared/tenancy/spread.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

const interval = 30_000;
const ids = (count: number, prefix = 'tenant') => Array.from({ length: count }, (_, i) => `${prefix}-${i}` as TenantId);

let end: (() => void) | undefined;
beforeEach(() => vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }));
afterEach(() => {
  end?.();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test('every tenant is visited once per interval, at its own moment and never all at once', () => {
  const tenants = ids(1000);
  let visited: TenantId[] = [];
  end = visitSpread(
    interval,
    () => tenants,
    (tenantId) => void visited.push(tenantId),
  );
  const rounds: TenantId[][] = [];
  for (let round = 0; round < 3; round++) {
    visited = [];
    let most = 0;
    for (let second = 0; second < interval / 1000; second++) {
      const before = visited.length;
      vi.advanceTimersByTime(1000);
      most = Math.max(most, visited.length - before);
    }
    // A thousand in thirty seconds are 33 a second.
    expect(most).toBeLessThan(80);
    expect(visited.toSorted()).toEqual(tenants.toSorted());
    rounds.push(visited);
  }
  expect(rounds[1]).toEqual(rounds[0]);
});

test('two processes do not visit the same tenant at the same moment', () => {
  const tenants = ids(50);
  const moments: Map<TenantId, number>[] = [new Map(), new Map()];
  const ends = moments.map((own) =>
    visitSpread(
      interval,
      () => tenants,
      (tenantId) => void own.set(tenantId, performance.now()),
    ),
  );
  end = () => void ends.map((one) => one());
  vi.advanceTimersByTime(interval);
  const together = tenants.filter((tenantId) => moments[0]?.get(tenantId) === moments[1]?.get(tenantId));
  expect(together.length).toBeLessThan(15);
});

test('a process that stood still leaves nobody out, and visits nobody twice for it', () => {
  const tenants = ids(100);
  const visited: TenantId[] = [];
  let late = false;
  end = visitSpread(
    interval,
    () => tenants,
    (tenantId) => void visited.push(tenantId),
  );
  vi.spyOn(performance, 'now').mockImplementation(() => (late ? 10 * interval : 0));
  late = true;
  vi.advanceTimersByTime(500);
  expect(visited.toSorted()).toEqual(tenants.toSorted());
});

test('one who comes in the middle is visited within an interval, one who has left is not', () => {
  const tenants = new Set(ids(10));
  const visited = new Set<TenantId>();
  end = visitSpread(
    interval,
    () => tenants,
    (tenantId) => visited.add(tenantId),
  );
  vi.advanceTimersByTime(interval / 2);
  visited.clear();
  const [gone] = tenants;
  tenants.delete(gone as TenantId);
  tenants.add('newcomer' as TenantId);
  vi.advanceTimersByTime(interval);
  expect(visited.has('newcomer' as TenantId)).toBe(true);
  expect(visited.has(gone as TenantId)).toBe(false);
  end();
  visited.clear();
  vi.advanceTimersByTime(2 * interval);
  expect(visited.size).toBe(0);
});
