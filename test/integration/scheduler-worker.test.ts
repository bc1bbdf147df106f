import { once } from 'node:events';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { pokeSchedules } from '@matcher/shared/schedules/poke.ts';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Due, openQueue } from '../../workers/scheduler/bull.ts';
import { firingQueueName } from '../../workers/scheduler/firing-queue.ts';
import { type RunningScheduler, startScheduler } from '../../workers/scheduler/start.ts';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';

let fleet: TestFleet;
let scheduler: RunningScheduler;
let redis: Redis;
let queue: Queue<Due>;

beforeAll(async () => {
  fleet = await startFleet();
  scheduler = await startScheduler(fleet.settings, fleet.log);
  redis = createRedis(fleet.settings, fleet.log);
  await once(redis, 'ready');
  queue = openQueue(firingQueueName, fleet.settings, fleet.log);
});
afterAll(async () => {
  await queue?.close();
  redis?.disconnect();
  await scheduler?.stop();
  await fleet?.close();
});

test('what a schedule publishes is matched by a worker, time after time', async () => {
  const tenant = await fleet.tenant();
  const schedule = { cron: '0 6 * * 1-5', timezone: 'Europe/Berlin' };
  await tenant.done('context.apply', { version: 1, context: simpleContext({ schedule }) });
  await loadPairs(tenant, 5);
  await pokeSchedules(redis, fleet.settings, tenant.id);
  /** Lets the next firing come now; it is still that of its own time. */
  const fire = async () => {
    const next = await until(async () => (await queue.getJobScheduler(`${tenant.id}:bank`))?.next);
    const due = await until(() => queue.getJob(`repeat:${tenant.id}:bank:${next}`));
    await due.promote();
    const id = `schedule:bank:${new Date(next).toISOString().replace('.000', '')}`;
    const job = async () =>
      (await tenant.query(`SELECT state, result FROM jobs WHERE id = $1 AND state = 'SUCCEEDED'`, [id]))[0];
    return { next, result: (await until(job)).result };
  };
  const first = await fire();
  expect(first.result).toMatchObject({ mode: 'COMMIT', matched: 5 });
  const second = await fire();
  expect(second.result).toMatchObject({ mode: 'COMMIT', matched: 0 });
  expect(second.next).toBeGreaterThanOrEqual(first.next + 23 * 3_600_000);
});
