import { IdempotencyKeys } from '@matcher/shared/redis/idempotency-keys.ts';
import type { TenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { testLog } from '../../support/test-log.ts';

const key = { type: 'matching.run', idempotencyKey: 'key' };
let asked: number;
let answer: () => Promise<string | null>;
const redis: TenantRedis = {
  get: () => {
    asked++;
    return answer();
  },
  set: async () => {
    asked++;
    await answer();
  },
  delete: async () => {},
};
let keys: IdempotencyKeys;

beforeEach(() => {
  vi.useFakeTimers();
  asked = 0;
  keys = new IdempotencyKeys(1, testLog().log);
});
afterEach(() => {
  vi.useRealTimers();
});

/** How long (ms) it takes until it is known. */
async function timed(holder: Promise<unknown>): Promise<{ found: unknown; ms: number }> {
  const began = performance.now();
  let ended: { found: unknown; ms: number } | undefined;
  void holder.then((found) => {
    ended = { found, ms: performance.now() - began };
  });
  while (!ended) await vi.advanceTimersByTimeAsync(10);
  return ended;
}

test('a Redis that says nothing is waited for once, and then not asked for a few seconds', async () => {
  answer = () => new Promise(() => {});
  const { found, ms } = await timed(keys.holder(redis, key));
  expect(found).toBeUndefined();
  expect(ms).toBeLessThan(300);
  for (let i = 0; i < 10; i++) expect(await timed(keys.holder(redis, key))).toMatchObject({ found: undefined });
  await keys.remember(redis, key, 'job');
  expect(asked).toBe(1);
  await vi.advanceTimersByTimeAsync(5000);
  answer = async () => 'job';
  expect(await keys.holder(redis, key)).toBe('job');
  expect(asked).toBe(2);
});

test('one that is away is not asked either, by whoever finds that out', async () => {
  answer = () => Promise.reject(new Error('away'));
  await keys.remember(redis, key, 'job');
  expect(await keys.holder(redis, key)).toBeUndefined();
  expect(asked).toBe(1);
});

test('a failure that comes when it is waited for no longer is nobody’s', async () => {
  const { promise, reject } = Promise.withResolvers<string>();
  answer = () => promise;
  expect(await timed(keys.holder(redis, key))).toMatchObject({ found: undefined });
  reject(new Error('late'));
  await vi.advanceTimersByTimeAsync(1);
});
