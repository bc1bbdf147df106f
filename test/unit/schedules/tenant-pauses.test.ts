import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { TenantPauses } from '../../../workers/scheduler/tenant-pauses.ts';

const [one, other] = [canonicalTenantId('one'), canonicalTenantId('other')];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('a tenant whose servers do not answer is left alone for pauses that grow up to a minute, and no other is', () => {
  const pauses = new TenantPauses();
  const lengths = Array.from({ length: 9 }, () => {
    pauses.begin(one);
    expect(() => pauses.check(one)).toThrow(expect.objectContaining({ code: 'TENANT_PAUSED', remedy: 'not-now' }));
    pauses.check(other);
    const began = performance.now();
    for (;;) {
      vi.advanceTimersByTime(500);
      try {
        pauses.check(one);
        return (performance.now() - began) / 1000;
      } catch {}
    }
  });
  expect(lengths).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
});

test('one that answers again begins anew', () => {
  const pauses = new TenantPauses();
  for (let i = 0; i < 5; i++) pauses.begin(one);
  pauses.end(one);
  pauses.check(one);
  pauses.begin(one);
  vi.advanceTimersByTime(1000);
  pauses.check(one);
});
