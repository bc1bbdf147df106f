import { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { type TenantId, tryCanonicalTenantId } from './tenant-id.ts';
import { type LifecycleEventType, lifecycleChannel, lifecycleEvent, lifecycleEventTypes, service } from './wire.ts';

/**
 * What an event is a reason to do. None says what is true: that is asked of the Tenant Manager.
 *
 * - `appear`: read the list at once; the tenant may be active now, or be somewhere else than before.
 * - `disappear`: read the list at once; the tenant may not be served any more.
 * - `change`: read its configuration anew, soon.
 */
export type Effect = 'appear' | 'disappear' | 'change';

export const effects: Readonly<Record<LifecycleEventType, Effect>> = {
  'tenant.created': 'appear',
  'tenant.activated': 'appear',
  'tenant.updated': 'appear',
  'tenant.service.associated': 'appear',
  'tenant.service.reactivated': 'appear',
  'tenant.suspended': 'disappear',
  'tenant.deleted': 'disappear',
  'tenant.service.disassociated': 'disappear',
  'tenant.service.suspended': 'disappear',
  'tenant.service.purged': 'disappear',
  'tenant.credentials.rotated': 'change',
  'tenant.connections.updated': 'change',
  'tenant.cache.invalidate': 'change',
};

/** An event of ours, as far as it is of use. */
export interface LifecycleNews {
  effect: Effect;
  tenantId: TenantId;
  /** When it happened by the Tenant Manager's clock (ms since 1970), if it says so. */
  at: number | undefined;
}

export interface LifecycleReactions {
  /** Something happened. Must return at once: what comes next waits for it. */
  event(news: LifecycleNews): void;
  /** The subscription stands, again or for the first time: before it, events may have been missed. */
  subscribed(): void;
}

/** Pause (ms) between two questions whether Redis still hears us: a subscription that was cut off silently looks like a quiet one. */
const pingInterval = 5000;
/** How long (ms) Redis may take for any answer. */
const answerTimeout = 5000;

const isKnownType = (type: string): type is LifecycleEventType =>
  (lifecycleEventTypes as readonly string[]).includes(type);

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
  metrics?: Metrics,
): () => void {
  const channel = lifecycleChannel(settings.MULTI_TENANT_ENVIRONMENT ?? '');
  const redis = new Redis({
    host: settings.MULTI_TENANT_REDIS_HOST as string,
    port: settings.MULTI_TENANT_REDIS_PORT,
    ...(settings.MULTI_TENANT_REDIS_PASSWORD ? { password: settings.MULTI_TENANT_REDIS_PASSWORD } : {}),
    ...(settings.MULTI_TENANT_REDIS_TLS ? { tls: {} } : {}),
    connectionName: 'matcher-tenant-events',
    autoResubscribe: false,
    maxRetriesPerRequest: null,
    commandTimeout: answerTimeout,
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random() / 2),
  });
  redis.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'tenant events: Redis is not reachable'));
  // A subscription that failed, or fell silent, leaves the process deaf; a new connection tries again.
  const startOver = (what: string) => (error: unknown) => {
    log.warn({ reason: errorMessage(error) }, `tenant events: ${what}`);
    redis.disconnect(true);
  };
  redis.on('ready', () => {
    redis.subscribe(channel).then(() => {
      log.info({ channel }, 'subscribed to tenant events');
      reactions.subscribed();
    }, startOver('the subscription failed'));
  });
  redis.on('message', (from, text) => {
    if (from !== channel) return;
    const news = readEvent(text, settings.MULTI_TENANT_ENVIRONMENT, log, metrics);
    if (news) reactions.event(news);
  });
  const pings = setInterval(() => {
    if (redis.status === 'ready') redis.ping().catch(startOver('the subscription is silent'));
  }, pingInterval);
  return () => {
    clearInterval(pings);
    redis.disconnect();
  };
}

/** What an event says, or `undefined` for what is malformed, unknown or meant for another service. */
function readEvent(
  text: string,
  environment: string | undefined,
  log: Logger,
  metrics: Metrics | undefined,
): LifecycleNews | undefined {
  const dropped = (): undefined => {
    metrics?.lifecycleEvents.inc({ type: 'dropped' });
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    log.warn('tenant events: dropped a message that is not JSON');
    return dropped();
  }
  const parsed = lifecycleEvent.safeParse(json);
  const tenantId = tryCanonicalTenantId(parsed.data?.tenant_id);
  if (!parsed.success || !tenantId) {
    log.warn('tenant events: dropped a message without a valid event_type or tenant_id');
    return dropped();
  }
  const { event_type: type, payload, timestamp } = parsed.data;
  if (!isKnownType(type)) {
    log.info({ type: type.slice(0, 100) }, 'tenant events: dropped an unknown type');
    return dropped();
  }
  if (parsed.data.environment && environment && parsed.data.environment !== environment) return dropped();
  if (payload?.service_name && payload.service_name !== service) return dropped();
  metrics?.lifecycleEvents.inc({ type });
  const at = Date.parse(timestamp ?? '');
  return { effect: effects[type], tenantId, at: Number.isNaN(at) ? undefined : at };
}
