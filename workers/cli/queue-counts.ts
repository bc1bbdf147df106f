import type { Settings } from '@matcher/shared/config/variables.ts';
import { MatcherError } from '@matcher/shared/errors.ts';
import { type QueueDepths, readQueueDepths } from '@matcher/shared/rabbitmq/queue-depths.ts';
import { Slots } from '@matcher/shared/slots.ts';
import type { TenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { ListedTenant } from './fleet-view.ts';
import type { Invocation } from './invocation.ts';

/** Vhosts that are asked at the same time. Each is a connection to a broker, opened and closed again. */
const concurrency = 16;
const brokerTimeout = 3000;

/** The active tenants, or why the Tenant Manager does not say. */
export async function listTenants(
  settings: Settings,
  manager: TenantManagerClient | undefined,
  signal: AbortSignal,
): Promise<ListedTenant[] | MatcherError> {
  if (!manager) return [{ id: canonicalTenantId(settings.DEFAULT_TENANT_ID), name: settings.DEFAULT_TENANT_SLUG }];
  try {
    return (await manager.describeActive(signal)).flatMap(({ id, name }) => {
      const tenantId = tryCanonicalTenantId(id);
      return tenantId === undefined ? [] : [{ id: tenantId, name: name ?? null }];
    });
  } catch (error) {
    signal.throwIfAborted();
    // It is when the Tenant Manager is away that one wants to see how the fleet gets on without it.
    if (error instanceof MatcherError) return error;
    throw error;
  }
}

/** What waits in each tenant's queues, or why that can't be said. */
export async function askBrokers(
  tenants: readonly ListedTenant[],
  source: TenantSource,
  { out, signal }: Invocation,
): Promise<Map<string, QueueDepths | MatcherError>> {
  const depths = new Map<string, QueueDepths | MatcherError>();
  const slots = new Slots(concurrency);
  /** Brokers that did not answer once: the other tenants on them need not wait for the same silence. */
  const silent = new Map<string, MatcherError>();
  await Promise.all(
    tenants.map(async ({ id }) => {
      const release = await slots.acquire(signal);
      try {
        const { rabbitmq } = await source.config(canonicalTenantId(id));
        const broker = `${rabbitmq.host}:${rabbitmq.port}`;
        const known = silent.get(broker);
        if (known) throw known;
        depths.set(
          id,
          await readQueueDepths(rabbitmq, brokerTimeout).catch((error) => {
            if (error.code === 'BROKER_UNAVAILABLE') silent.set(broker, error);
            throw error;
          }),
        );
      } catch (error) {
        if (!(error instanceof MatcherError)) throw error;
        depths.set(id, error);
      } finally {
        release();
      }
      // For a few it is done before it can be read.
      if (tenants.length > concurrency) out.progress('queues', 'counting', `${depths.size} of ${tenants.length}`);
    }),
  );
  return depths;
}
