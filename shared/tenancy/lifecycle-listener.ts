import { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { type TenantId, tryCanonicalTenantId } from './tenant-id.ts';
import { lifecycleChannel, lifecycleEvent, lifecycleEventTypes, service } from './wire.ts';

const knownTypes = new Set<string>(lifecycleEventTypes);

export interface LifecycleReactions {
  /** Something about this tenant may have changed; without a tenant: events may have been missed. Must return at once. */
  changed(tenantId: TenantId | undefined): void;
}

/**
 * Subscribes to the deployment's tenant events and stays subscribed. Pub/Sub keeps nothing, so every (re)subscription counts
 * as a change of everything.
 *
 * @returns a function that ends the subscription.
 */
export function listenForLifecycle(
  settings: Settings,
  log: Logger,
  reactions: LifecycleReactions,
): () => Promise<void> {
  const channel = lifecycleChannel(settings.MULTI_TENANT_ENVIRONMENT ?? '');
  const redis = new Redis({
    host: settings.MULTI_TENANT_REDIS_HOST as string,
    port: settings.MULTI_TENANT_REDIS_PORT,
    ...(settings.MULTI_TENANT_REDIS_PASSWORD ? { password: settings.MULTI_TENANT_REDIS_PASSWORD } : {}),
    ...(settings.MULTI_TENANT_REDIS_TLS ? { tls: {} } : {}),
    connectionName: 'matcher-tenant-events',
    autoResubscribe: false,
    maxRetriesPerRequest: null,
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random() / 2),
  });
  redis.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'tenant events: Redis is not reachable'));
  redis.on('ready', () => {
    redis.subscribe(channel).then(
      () => {
        log.info({ channel }, 'subscribed to tenant events');
        reactions.changed(undefined);
      },
      // A subscription that fails leaves the process deaf; a new connection tries again.
      (error) => {
        log.warn({ reason: errorMessage(error) }, 'tenant events: the subscription failed');
        redis.disconnect(true);
      },
    );
  });
  redis.on('message', (from, text) => {
    if (from !== channel) return;
    const tenantId = tenantConcerned(text, settings.MULTI_TENANT_ENVIRONMENT, log);
    if (tenantId) reactions.changed(tenantId);
  });
  return async () => {
    redis.disconnect();
  };
}

/** The tenant that an event is about, or `undefined` for what is malformed, unknown or meant for another service. */
function tenantConcerned(text: string, environment: string | undefined, log: Logger): TenantId | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    log.warn('tenant events: dropped a message that is not JSON');
    return undefined;
  }
  const parsed = lifecycleEvent.safeParse(json);
  const tenantId = tryCanonicalTenantId(parsed.data?.tenant_id);
  if (!parsed.success || !tenantId) {
    log.warn('tenant events: dropped a message without a valid event_type or tenant_id');
    return undefined;
  }
  const { event_type: type, payload } = parsed.data;
  if (!knownTypes.has(type)) {
    log.info({ type }, 'tenant events: dropped an unknown type');
    return undefined;
  }
  if (parsed.data.environment && environment && parsed.data.environment !== environment) return undefined;
  if (payload?.service_name && payload.service_name !== service) return undefined;
  return tenantId;
}
