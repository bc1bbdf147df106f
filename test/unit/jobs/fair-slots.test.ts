import { getEventListeners } from 'node:events';
import { FairSlots } from '@matcher/shared/jobs/fair-slots.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';

const { signal } = new AbortController();
const user = (id: string, weight = 1) => ({ tenantId: id as TenantId, weight });

/** Asks for `count` slots of a tenant and notes who gets one, in order. */
function queue(slots: FairSlots, served: string[], id: string, count: number, weight = 1): (() => void)[] {
  const releases: (() => void)[] = [];
  for (let i = 0; i < count; i++) {
    void slots.acquire(user(id, weight), signal).then((release) => {
      served.push(id);
      releases.push(release);
    });
  }
  return releases;
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('slots', () => {
  test('go in turn to the tenants that wait, however many jobs one of them has', async () => {
    const slots = new FairSlots({ total: 1, perTenant: 1 });
    let release = await slots.acquire(user('busy'), signal);
    const served: string[] = [];
    const all = [queue(slots, served, 'busy', 100), queue(slots, served, 'a', 2), queue(slots, served, 'b', 1)];
    for (let i = 0; i < 6; i++) {
      const before = served.length;
      release();
      await settled();
      expect(served).toHaveLength(before + 1);
      release = all.flatMap((releases) => releases.splice(0))[0] as () => void;
    }
    expect(served).toEqual(['a', 'b', 'busy', 'a', 'busy', 'busy']);
  });

  test('go to one tenant a few times in a row where they come free quickly, and else one by one', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      for (const [ms, order] of [
        [1, 'aabbaabb'],
        [60, 'abababab'],
      ] as const) {
        const slots = new FairSlots({ total: 4, perTenant: 4 });
        const held = await Promise.all([1, 2, 3, 4].map(() => slots.acquire(user('busy'), signal)));
        const served: string[] = [];
        const all = [queue(slots, served, 'a', 10), queue(slots, served, 'b', 10)];
        for (let i = 0; i < order.length; i++) {
          (held.shift() ?? all.find((releases) => releases.length > 0)?.shift())?.();
          await settled();
          vi.advanceTimersByTime(ms);
        }
        expect(served.join('')).toBe(order);
      }
    } finally {
      vi.useRealTimers();
    }
  });

  test('go by weight where several wait', async () => {
    const slots = new FairSlots({ total: 1, perTenant: 1 });
    let release = await slots.acquire(user('other'), signal);
    const served: string[] = [];
    const all = [queue(slots, served, 'heavy', 300, 3), queue(slots, served, 'light', 300)];
    for (let i = 0; i < 200; i++) {
      release();
      await settled();
      release = all.flatMap((releases) => releases.splice(0))[0] as () => void;
    }
    const heavy = served.filter((id) => id === 'heavy').length;
    expect(heavy).toBeGreaterThanOrEqual(149);
    expect(heavy).toBeLessThanOrEqual(151);
  });

  test('are never all one tenant’s: whoever comes next begins at once', async () => {
    const slots = new FairSlots({ total: 4, perTenant: 3 });
    const served: string[] = [];
    queue(slots, served, 'busy', 10);
    await settled();
    expect(served).toEqual(['busy', 'busy', 'busy']);
    queue(slots, served, 'other', 2);
    await settled();
    expect(served).toEqual(['busy', 'busy', 'busy', 'other']);
  });

  test('a tenant that was away has saved nothing up', async () => {
    const slots = new FairSlots({ total: 1, perTenant: 1 });
    for (let i = 0; i < 50; i++) (await slots.acquire(user('steady'), signal))();
    let release = await slots.acquire(user('steady'), signal);
    const served: string[] = [];
    const all = [queue(slots, served, 'late', 10), queue(slots, served, 'steady', 10)];
    for (let i = 0; i < 6; i++) {
      release();
      await settled();
      release = all.flatMap((releases) => releases.splice(0))[0] as () => void;
    }
    expect(served.filter((id) => id === 'late')).toHaveLength(3);
  });

  test('whoever gives up waiting holds nothing', async () => {
    const slots = new FairSlots({ total: 1, perTenant: 1 });
    const release = await slots.acquire(user('a'), signal);
    const patience = new AbortController();
    const waiting = slots.acquire(user('b'), patience.signal);
    patience.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    release();
    expect(slots.used).toBe(0);
    await expect(slots.acquire(user('b'), patience.signal)).rejects.toThrow('enough');
  });

  test('one that is given back twice frees one', async () => {
    const slots = new FairSlots({ total: 2, perTenant: 2 });
    const release = await slots.acquire(user('a'), signal);
    await slots.acquire(user('a'), signal);
    release();
    release();
    expect(slots.used).toBe(1);
  });
});

describe('alone', () => {
  test('is whoever waited until the others had left; nobody begins until it lets them in', async () => {
    const slots = new FairSlots({ total: 3, perTenant: 3 });
    await slots.acquire(user('suspect'), signal);
    const release = await slots.acquire(user('other'), signal);
    const alone = slots.alone(60_000, signal);
    const served: string[] = [];
    queue(slots, served, 'next', 1);
    await settled();
    expect(served).toEqual([]);
    release();
    const open = await alone;
    await settled();
    expect(served).toEqual([]);
    open?.();
    await settled();
    expect(served).toEqual(['next']);
  });

  test('is nobody whom the others did not leave in time, and they go on', async () => {
    const slots = new FairSlots({ total: 2, perTenant: 2 });
    await slots.acquire(user('suspect'), signal);
    const release = await slots.acquire(user('other'), signal);
    expect(await slots.alone(1, signal)).toBeUndefined();
    release();
    const served: string[] = [];
    queue(slots, served, 'next', 1);
    await settled();
    expect(served).toEqual(['next']);
  });

  test('leaves nothing on its signal, however it ends', async () => {
    const slots = new FairSlots({ total: 2, perTenant: 2 });
    const { signal } = new AbortController();
    await slots.acquire(user('suspect'), signal);
    (await slots.alone(60_000, signal))?.();
    await slots.acquire(user('other'), signal);
    expect(await slots.alone(1, signal)).toBeUndefined();
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

test('whatever the order of coming and going, the limits hold and nothing stays free that somebody waits for', async () => {
  const step = fc.record({ tenant: fc.constantFrom('a', 'b', 'c'), leave: fc.boolean(), pick: fc.nat(100) });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (total, most, steps) => {
        const perTenant = Math.min(total, most);
        const slots = new FairSlots({ total, perTenant });
        const held: { tenant: string; release: () => void }[] = [];
        const waiting = new Map<string, number>();
        for (const { tenant, leave, pick } of steps) {
          if (leave && held.length > 0) held.splice(pick % held.length, 1)[0]?.release();
          else {
            waiting.set(tenant, (waiting.get(tenant) ?? 0) + 1);
            void slots.acquire(user(tenant), signal).then((release) => {
              held.push({ tenant, release });
              waiting.set(tenant, (waiting.get(tenant) as number) - 1);
            });
          }
          await settled();
          expect(held).toHaveLength(slots.used);
          expect(slots.used).toBeLessThanOrEqual(total);
          for (const [id, count] of waiting) {
            const has = held.filter((one) => one.tenant === id).length;
            expect(has).toBeLessThanOrEqual(perTenant);
            if (count > 0) expect(has === perTenant || slots.used === total).toBe(true);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});
