import { Redis, ReplyError } from 'ioredis';
import { splitAddress } from '../config/kinds.ts';
import type { Settings } from '../config/variables.ts';
import { errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { type KeySpace, prefixIn } from '../tenancy/key-space.ts';

/**
 * The tenant's key space. A key is written without its prefix; there is no command that reaches another tenant's. Every call fails with
 * `REDIS_UNAVAILABLE` within seconds when Redis is away.
 */
export interface TenantRedis {
  get(key: string): Promise<string | null>;
  set(key: string, value: string, ttlSec: number): Promise<void>;
  delete(key: string): Promise<void>;
}

export function createRedis(settings: Settings, log: Logger): Redis {
  const { host, port } = splitAddress(settings.REDIS_HOST ?? '');
  const redis = new Redis({
    host,
    port,
    db: settings.REDIS_DB,
    ...(settings.REDIS_PASSWORD ? { password: settings.REDIS_PASSWORD } : {}),
    ...(settings.REDIS_TLS ? { tls: {} } : {}),
    connectionName: 'matcher',
    // Nothing that must be right hangs on Redis: a call fails soon instead of waiting for it to come back.
    commandTimeout: 2000,
    // A connection that swallows what it is sent says nothing about its end. Longer than a call waits: one slow answer is no reason to part.
    socketTimeout: 4000,
    connectTimeout: 5000,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random() / 2),
  });
  redis.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'Redis is not reachable'));
  return redis;
}

/** @throws MatcherError `TENANT_REQUIRED` */
export function tenantRedis(redis: Redis, space: KeySpace): TenantRedis {
  const prefix = prefixIn(space, (tenantId) => `tenant:${tenantId}:`);
  const at = (key: string) => {
    if (key === '') throw new MatcherError('REDIS_KEY_INVALID', 'A Redis key must not be empty');
    return prefix + key;
  };
  return {
    async get(key) {
      return await answer(redis.get(at(key)));
    },
    async set(key, value, ttlSec) {
      await answer(redis.set(at(key), value, 'EX', ttlSec));
    },
    async delete(key) {
      await answer(redis.del(at(key)));
    },
  };
}

/** What goes wrong without an answer of the server is a matter of the connection. */
async function answer<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (cause) {
    if (cause instanceof ReplyError) throw cause;
    throw new MatcherError('REDIS_UNAVAILABLE', 'Redis is not reachable', { remedy: 'not-now', cause });
  }
}
