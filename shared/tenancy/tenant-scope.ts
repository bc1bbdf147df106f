import type { S3Client } from '@aws-sdk/client-s3';
import type { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';
import { type StorageSettings, storageSettings, type TenantObjects, tenantObjects } from '../objects/tenant-objects.ts';
import type { Logger } from '../observability/log.ts';
import type { TakeSeat } from '../postgres/seat.ts';
import type { TenantDatabase } from '../postgres/tenant-database.ts';
import type { PoolLease, TenantPools } from '../postgres/tenant-pools.ts';
import { type TenantRedis, tenantRedis } from '../redis/tenant-redis.ts';
import { keySpaceOf } from './key-space.ts';
import type { TenantId } from './tenant-id.ts';

/**
 * All that a job's handler can reach: one tenant's database, objects, keys and events. Prefixes, headers and connections are the scope's business, and
 * there is no way from inside it to another tenant.
 */
export interface TenantScope {
  readonly tenantId: TenantId;
  readonly slug: string;
  readonly db: TenantDatabase;
  /**
   * As `db.snapshot`, for much that is read at once: on the tenant's replica when it has one that has caught up with what was committed so far. When it fails
   * in the middle, `work` is begun again, on the primary.
   */
  readonly snapshot: TenantDatabase['snapshot'];
  readonly objects: TenantObjects;
  readonly redis: TenantRedis;
  /** Publishes an event of this tenant at once; for what is true only with a commit, there is the job's completion. */
  publish(eventType: string, body: object): Promise<void>;
  readonly log: Logger;
}

/** What a worker thread needs to work for the tenant. It names connections and the bucket, so it is not for a handler. */
export interface ForThread {
  /** Lends one of the tenant's connections. */
  readonly seat: TakeSeat;
  readonly storage: ThreadStorage;
}

/** A scope, and what its job's completion may need that its handler must not have. */
export interface JobScope extends TenantScope {
  readonly forThread: ForThread;
}

/** How a thread comes to the tenant's objects; goes there as it is. */
export interface ThreadStorage {
  readonly tenantId: TenantId;
  readonly settings: StorageSettings & Pick<Settings, 'MULTI_TENANT_ENABLED'>;
}

export interface ScopeParts {
  pools: TenantPools;
  s3: S3Client;
  redis: Redis;
  settings: Settings;
}

/** A scope and its end: the tenant's pool stays open until it is released. */
export interface LeasedScope {
  readonly scope: JobScope;
  release(): void;
}

type Reach = Readonly<Pick<TenantScope, 'objects' | 'redis'>> & { readonly storage: ThreadStorage };

/** What is the same in every scope over a pool is made once, with the pool's database. */
const reaches = new WeakMap<TenantDatabase, Reach>();

/** @throws MatcherError `TENANT_REQUIRED` */
function reachOf({ s3, redis, settings }: ScopeParts, tenantId: TenantId, { db, release }: PoolLease): Reach {
  let reach = reaches.get(db);
  if (!reach) {
    try {
      const space = keySpaceOf(settings, tenantId);
      reach = {
        objects: Object.freeze(tenantObjects(s3, settings, space)),
        redis: Object.freeze(tenantRedis(redis, space)),
        storage: {
          tenantId,
          settings: { ...storageSettings(settings), MULTI_TENANT_ENABLED: settings.MULTI_TENANT_ENABLED },
        },
      };
    } catch (error) {
      release();
      throw error;
    }
    reaches.set(db, reach);
  }
  return reach;
}

export async function leaseScope(
  parts: ScopeParts,
  tenantId: TenantId,
  publish: TenantScope['publish'],
  log: Logger,
): Promise<LeasedScope> {
  const lease = await parts.pools.lease(tenantId);
  const { db, snapshot, seat, config, release } = lease;
  const { objects, redis, storage } = reachOf(parts, tenantId, lease);
  const scope: JobScope = Object.freeze({
    tenantId,
    slug: config.slug,
    db,
    snapshot,
    forThread: { seat, storage },
    objects,
    redis,
    publish,
    log,
  });
  return { scope, release };
}
