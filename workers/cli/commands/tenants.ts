import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import { type FleetReading, readFleet } from '@matcher/shared/process/fleet-registry.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { Command } from 'commander';
import { fleetTables, notesOn } from '../fleet-tables.ts';
import { type FleetView, knownTenants, unworkedTypes, viewProcess, viewTenants } from '../fleet-view.ts';
import { finishCommand, type Invocation, type Shell } from '../invocation.ts';
import { askBrokers, listTenants } from '../queue-counts.ts';
import { quietLog } from '../tenant-session.ts';

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
