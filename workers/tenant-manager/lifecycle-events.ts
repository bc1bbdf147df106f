import { randomUUID } from 'node:crypto';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorMessage } from '@matcher/shared/errors.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { type LifecycleEventType, lifecycleChannel } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';

export interface ServicePayload {
  service_name: string;
  [field: string]: unknown;
}

export interface LifecycleEvents {
  /**
   * Announces what is committed already. Never fails: whoever misses an event finds the change in the list of active tenants.
   *
   * @param at when the change was committed, by the database's clock, so that the order of timestamps is the order of changes.
   */
  publish(
    tenant: { id: TenantId; slug: string },
    type: LifecycleEventType,
    at: Date,
    payload?: ServicePayload,
  ): Promise<void>;
  close(): void;
}

/** Connects to the events' Redis; one that is away is tried again in the background. */
export async function openLifecycleEvents(settings: Settings, log: Logger): Promise<LifecycleEvents> {
  const environment = settings.MULTI_TENANT_ENVIRONMENT ?? '';
  if (settings.MULTI_TENANT_REDIS_HOST === undefined) {
    log.warn('MULTI_TENANT_REDIS_HOST is not set: no lifecycle events, workers find changes in the list only');
    return { async publish() {}, close() {} };
  }
  const redis = new Redis({
    host: settings.MULTI_TENANT_REDIS_HOST,
    port: settings.MULTI_TENANT_REDIS_PORT,
    ...(settings.MULTI_TENANT_REDIS_PASSWORD ? { password: settings.MULTI_TENANT_REDIS_PASSWORD } : {}),
    ...(settings.MULTI_TENANT_REDIS_TLS ? { tls: {} } : {}),
    connectionName: 'matcher-tenant-manager',
    lazyConnect: true,
    connectTimeout: 5000,
    // A late event helps nobody and a waiting one would hold up its request.
    commandTimeout: 2000,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random() / 2),
  });
  redis.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'lifecycle events: Redis is not reachable'));
  // The first attempt is awaited, so that a request right after the start has its event; its failure was logged above.
  await redis.connect().catch(() => {});

  return {
    async publish(tenant, type, at, payload) {
      const envelope = {
        event_id: randomUUID(),
        event_type: type,
        timestamp: at.toISOString(),
        tenant_id: tenant.id,
        tenant_slug: tenant.slug,
        environment,
        ...(payload ? { payload } : {}),
      };
      try {
        await redis.publish(lifecycleChannel(environment), JSON.stringify(envelope));
        log.info({ tenantId: tenant.id, event: type, eventId: envelope.event_id }, 'lifecycle event published');
      } catch (error) {
        const reason = errorMessage(error);
        log.warn(
          { tenantId: tenant.id, event: type, reason },
          'lifecycle event lost; workers find the change in the list',
        );
      }
    },
    close() {
      redis.disconnect();
    },
  };
}
