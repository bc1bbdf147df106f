import type { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { tenantRedis } from '../redis/tenant-redis.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { M2MCredentials } from './m2m-secret.ts';
import { createSeal } from './seal.ts';

/** The second level of the credentials' cache, shared by all processes. It saves requests: whatever is wrong with Redis is a miss. */
export interface M2MRedisCache {
  read(tenantId: TenantId): Promise<M2MCredentials | undefined>;
  /** Keeps them for M2M_CREDENTIAL_CACHE_TTL_SEC. */
  write(tenantId: TenantId, credentials: M2MCredentials): Promise<void>;
  clear(tenantId: TenantId): Promise<void>;
}

/**
 * Keys are `tenant:{tenantID}:m2m:{targetService}:{tenantOrgID}:credentials` (Tenant Manager contract), of which the tenant's key space
 * gives the first two parts.
 *
 * What is kept is sealed with a key derived from MULTI_TENANT_SERVICE_API_KEY, which every process has and Redis does not: a copy of
 * Redis gives nobody a tenant's client, and whoever can write to Redis cannot make a tenant's token go to a `targetBaseUrl` of
 * theirs. After a change of that key the entries are misses.
 */
export function m2mRedisCache(redis: Redis, settings: Settings, log: Logger): M2MRedisCache {
  const { MULTI_TENANT_SERVICE_API_KEY: secret, M2M_TARGET_SERVICE: targetService } = settings;
  if (secret === undefined) throw new MatcherError('INVALID_CONFIG', 'MULTI_TENANT_SERVICE_API_KEY is required');
  const seal = createSeal(secret, 'matcher: cache of machine-to-machine credentials');
  const keyOf = (tenantId: TenantId) => `m2m:${targetService.trim()}:${tenantId}:credentials`;
  const placeOf = (tenantId: TenantId) => `${tenantId}/${keyOf(tenantId)}`;

  async function attempt<T>(tenantId: TenantId, what: string, command: () => Promise<T>): Promise<T | undefined> {
    try {
      return await command();
    } catch (error) {
      const reason = { tenantId, code: errorCode(error), reason: errorMessage(error) };
      log.warn(reason, `machine-to-machine credentials cannot be ${what} Redis; going on without`);
      return undefined;
    }
  }

  return {
    async read(tenantId) {
      const sealed = await attempt(tenantId, 'read from', () => tenantRedis(redis, tenantId).get(keyOf(tenantId)));
      const text = sealed ? seal.open(sealed, placeOf(tenantId)) : undefined;
      if (sealed && text === undefined) {
        log.debug({ tenantId }, 'the credentials in Redis were not sealed by this deployment');
      }
      // What opens was written by this very code.
      return text === undefined ? undefined : (JSON.parse(text) as M2MCredentials);
    },
    async write(tenantId, credentials) {
      const sealed = seal.close(JSON.stringify(credentials), placeOf(tenantId));
      await attempt(tenantId, 'kept in', () =>
        tenantRedis(redis, tenantId).set(keyOf(tenantId), sealed, settings.M2M_CREDENTIAL_CACHE_TTL_SEC),
      );
    },
    async clear(tenantId) {
      await attempt(tenantId, 'removed from', () => tenantRedis(redis, tenantId).delete(keyOf(tenantId)));
    },
  };
}
