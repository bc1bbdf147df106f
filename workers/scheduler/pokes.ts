import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorMessage } from '@matcher/shared/errors.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { schedulerKeys } from '@matcher/shared/schedules/poke.ts';
import { type TenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';

/** Seconds that Redis waits for a poke before it says that there is none: less than a call may take. */
const wait = 1;
const pauseMs = 1000;

/**
 * Takes what others say of tenants' schedules; of several schedulers, one takes each. On a connection of its own, since it waits there most of the time.
 *
 * @param react must return at once.
 * @returns a function that ends it.
 */
export function takePokes(settings: Settings, log: Logger, react: (tenantId: TenantId) => void): () => Promise<void> {
  const redis = createRedis(settings, log);
  const { pokes } = schedulerKeys(settings);
  const stopped = new AbortController();
  const take = async () => {
    while (!stopped.signal.aborted) {
      try {
        const [, said] = (await redis.blpop(pokes, wait)) ?? [];
        const tenantId = tryCanonicalTenantId(said);
        if (tenantId) react(tenantId);
      } catch (error) {
        if (stopped.signal.aborted) return;
        log.debug({ reason: errorMessage(error) }, 'nobody can be heard for now');
        await delay(pauseMs, undefined, { signal: stopped.signal }).catch(() => {});
      }
    }
  };
  const taking = take();
  return async () => {
    stopped.abort();
    redis.disconnect();
    await taking;
  };
}
