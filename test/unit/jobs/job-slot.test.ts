import { FairSlots } from '@matcher/shared/jobs/fair-slots.ts';
import { JobSlot } from '@matcher/shared/jobs/job-slot.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

const { signal } = new AbortController();
const user = { tenantId: 'a' as TenantId, weight: 1 };
let slots: FairSlots;
let database: { silent: boolean };

beforeEach(() => {
  vi.useFakeTimers();
  slots = new FairSlots({ total: 1, perTenant: 1 });
  database = { silent: false };
});
afterEach(() => {
  vi.useRealTimers();
});

test('a database that goes silent does not keep the slot from others; until it answers, its tenant’s deliveries take none', async () => {
  const slot = new JobSlot(slots, user, database);
  await slot.reserve(signal, 60_000);
  const answer = Promise.withResolvers<string>();
  const waiting = slot.giveWhileSilent(answer.promise);
  const other = slots.acquire({ ...user, tenantId: 'b' as TenantId }, signal);
  await vi.advanceTimersByTimeAsync(1000);
  const release = await other;
  expect(slot.held).toBe(false);

  const next = new JobSlot(slots, user, database);
  await next.reserve(signal, 60_000);
  expect(next.held).toBe(false);

  answer.resolve('there');
  expect(await waiting).toBe('there');
  const begun = slot.begin(signal);
  expect(slot.held).toBe(false);
  release();
  await begun;
  expect(slot.held).toBe(true);
  expect(database.silent).toBe(false);
});

test('a wait for something else than the own database keeps the slot', async () => {
  const slot = new JobSlot(slots, user, database);
  await slot.reserve(signal, 60_000);
  let own = false;
  void slot.giveWhileSilent(new Promise(() => {}), () => own);
  await vi.advanceTimersByTimeAsync(5000);
  expect(slot.held).toBe(true);
  own = true;
  await vi.advanceTimersByTimeAsync(1000);
  expect(slot.held).toBe(false);
});

test('an answer in time keeps the slot; one that is given twice frees one place', async () => {
  const slot = new JobSlot(slots, user, database);
  await slot.reserve(signal, 60_000);
  await slot.giveWhileSilent(Promise.resolve());
  await vi.advanceTimersByTimeAsync(5000);
  expect(slot.held).toBe(true);
  slot.give();
  slot.give();
  expect(slots.used).toBe(0);
});
