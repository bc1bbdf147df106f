import type { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';

/** Pokes that are kept while no scheduler runs; the maintenance of each tenant makes up for more. */
const kept = 10_000;

/** Where the deployment's schedulers keep what is theirs in Redis (REDIS_HOST), outside the tenants' key spaces. */
export function schedulerKeys({ MULTI_TENANT_ENVIRONMENT, ENV_NAME }: Settings) {
  // Encoded, so that no label can reach into another deployment's keys.
  const prefix = `matcher:scheduler:${encodeURIComponent(MULTI_TENANT_ENVIRONMENT ?? ENV_NAME)}`;
  return { prefix, pokes: `${prefix}:pokes` };
}

/**
 * Tells the schedulers that a tenant's schedules may have changed: one of them compares them with the tenant's database at once. To be called after the commit.
 * What gets lost is found by the tenant's next maintenance.
 *
 * @throws what the driver throws when Redis is away: nobody's work should end for it.
 */
export async function pokeSchedules(redis: Redis, settings: Settings, tenantId: TenantId): Promise<void> {
  const { pokes } = schedulerKeys(settings);
  await redis.multi().rpush(pokes, tenantId).ltrim(pokes, -kept, -1).exec();
}
