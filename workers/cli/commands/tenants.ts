import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import { type FleetReading, readFleet } from '@matcher/shared/process/fleet-registry.ts';
import { type QueueDepths, readQueueDepths } from '@matcher/shared/rabbitmq/queue-depths.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { Slots } from '@matcher/shared/slots.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId, type TenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { createTenantSource, type TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { Command } from 'commander';
import { fleetTables, notesOn } from '../fleet-tables.ts';
import {
  type FleetView,
  knownTenants,
  type ListedTenant,
  unworkedTypes,
  viewProcess,
  viewTenants,
} from '../fleet-view.ts';
import { finishCommand, type Invocation, type Shell } from '../invocation.ts';
import { quietLog } from '../tenant-session.ts';

/** Vhosts that are asked at the same time. Each is a connection to a broker, opened and closed again. */
const concurrency = 16;
const brokerTimeout = 3000;
const redisTimeout = 5000;

interface Options {
  tenant?: string;
}

export function addTenantsCommand(program: Command, shell: Shell): void {
  const command = program
    .command('tenants')
    .description('Shows the running fleet: who consumes each tenant, its pools and connections, and what waits.')
    .option('--tenant <id>', 'this tenant only');
  finishCommand(command, shell, 'matcher tenants --json', async (invocation, { tenant }: Options) => {
    const settings = loadSettings('observer');
    const only = tenant === undefined ? undefined : canonicalTenantId(tenant);
    const view = await viewFleet(settings, only, invocation);
    invocation.out.result(view, fleetTables(view));
  });
}

async function viewFleet(settings: Settings, only: TenantId | undefined, invocation: Invocation): Promise<FleetView> {
  const { processes, unreadable } = await askRedis(settings, invocation.signal);
  if (processes.length + unreadable === 0) throw nobody(settings);
  const manager = settings.MULTI_TENANT_ENABLED ? createTenantManagerClient(settings) : undefined;
  const source = manager ?? createTenantSource(settings);
  const listed = await listTenants(settings, manager, invocation.signal);
  const tenants = knownTenants(processes, listed).filter(({ id }) => only === undefined || id === only);
  if (only !== undefined && tenants.length === 0) tenants.push({ id: only, name: null });
  // Without the Tenant Manager nobody knows where the vhosts are.
  const depths =
    listed instanceof MatcherError
      ? new Map<string, MatcherError>(tenants.map(({ id }) => [id, listed]))
      : await askBrokers(tenants, source, invocation);
  const asked = only === undefined ? undefined : depths.get(only);
  if (asked instanceof MatcherError && asked.code === 'TENANT_NOT_FOUND') throw asked;
  const view = {
    at: new Date().toISOString(),
    environment: settings.MULTI_TENANT_ENVIRONMENT ?? null,
    tenants: viewTenants(tenants, { processes, listed, depths }),
    processes: processes.map(viewProcess),
    unworked: unworkedTypes(processes),
  };
  const notes = notesOn(view);
  if (unreadable > 0) notes.push(`${unreadable} more processes are of another version, which this command can't read`);
  return { ...view, notes };
}

async function askRedis(settings: Settings, signal: AbortSignal): Promise<FleetReading> {
  const redis = createRedis(settings, quietLog(settings));
  try {
    await once(redis, 'ready', { signal: AbortSignal.any([signal, AbortSignal.timeout(redisTimeout)]) });
    return await readFleet(redis, settings);
  } catch (cause) {
    signal.throwIfAborted();
    throw new MatcherError('REDIS_UNAVAILABLE', `Redis cannot be asked for the processes (${errorMessage(cause)})`, {
      hint: 'Check REDIS_HOST, REDIS_PASSWORD and REDIS_TLS: they are those of the workers.',
      cause,
    });
  } finally {
    redis.disconnect();
  }
}

function nobody({ MULTI_TENANT_ENVIRONMENT: environment, REDIS_HOST: redis }: Settings): MatcherError {
  const label = environment === undefined ? 'without MULTI_TENANT_ENVIRONMENT' : `of environment ${environment}`;
  return new MatcherError('NO_PROCESSES', `No worker process ${label} has announced itself at ${redis}`, {
    hint: 'Is the fleet running, with the same REDIS_HOST, REDIS_DB and MULTI_TENANT_ENVIRONMENT as this command?',
  });
}

async function listTenants(
  settings: Settings,
  manager: ReturnType<typeof createTenantManagerClient> | undefined,
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

async function askBrokers(
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
