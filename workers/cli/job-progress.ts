import { once } from 'node:events';
import { type Progress, progress } from '@matcher/shared/jobs/contracts/events.ts';
import { progressKey } from '@matcher/shared/jobs/progress.ts';
import { createRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import { quietLog, type RecordsSession } from './tenant-session.ts';

const redisTimeout = 2000;

/** How far a running job said it was, or null when it has not said it, or Redis, in which it stands, can't be asked. */
export async function readProgress(
  { settings, tenantId }: RecordsSession,
  jobId: string,
  signal: AbortSignal,
): Promise<Progress | null> {
  if (settings.REDIS_HOST === undefined) return null;
  const redis = createRedis(settings, quietLog(settings));
  try {
    await once(redis, 'ready', { signal: AbortSignal.any([signal, AbortSignal.timeout(redisTimeout)]) });
    const said = await tenantRedis(redis, keySpaceOf(settings, tenantId)).get(progressKey(jobId));
    return progress.safeParse(JSON.parse(said ?? 'null')).data ?? null;
  } catch {
    signal.throwIfAborted();
    return null;
  } finally {
    redis.disconnect();
  }
}
