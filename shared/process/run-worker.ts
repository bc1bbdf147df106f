import { hostname } from 'node:os';
import type { Settings } from '../config/variables.ts';
import { errorCode } from '../errors.ts';
import type { AnyJobDefinition } from '../jobs/definition.ts';
import { TenantConsumers } from '../jobs/tenant-consumers.ts';
import { createS3Client } from '../objects/tenant-objects.ts';
import type { Logger } from '../observability/log.ts';
import { TenantPools } from '../postgres/tenant-pools.ts';
import { createRedis } from '../redis/tenant-redis.ts';
import { Slots } from '../slots.ts';
import { TenantDirectory } from '../tenancy/directory.ts';
import { createTenantSource } from '../tenancy/tenant-source.ts';
import { serveHealth } from './health-server.ts';
import { type Running, runProcess } from './run-process.ts';

/** The main of a worker process: works the given kinds of jobs for every active tenant, until it is told to stop. */
export function runWorker(name: string, definitions: readonly AnyJobDefinition[]): Promise<void> {
  return runProcess(name, 'worker', (settings, log) => startWorker(name, definitions, settings, log));
}

export interface RunningWorker extends Running {
  /** Port of /health and /ready. */
  readonly port: number;
}

/** Starts a worker inside this process. It is ready once the list of tenants was read and each of them is consumed. */
export async function startWorker(
  name: string,
  definitions: readonly AnyJobDefinition[],
  settings: Settings,
  log: Logger,
): Promise<RunningWorker> {
  const source = createTenantSource(settings);
  const redis = createRedis(settings, log);
  const s3 = createS3Client(settings);
  const directory = new TenantDirectory(source, settings, log);
  const pools = new TenantPools(source, settings, log, {
    onOpen: (tenantId) => {
      consumers
        .get(tenantId)
        ?.sendLeftEvents()
        .catch((error) => log.warn({ tenantId, code: errorCode(error) }, 'events left by an earlier process wait on'));
    },
  });
  const parts = {
    source,
    pools,
    s3,
    redis,
    settings,
    definitions,
    slots: new Slots(settings.JOB_SLOTS),
    run: {
      leaseSec: settings.JOB_LEASE_SEC,
      maxAttempts: settings.JOB_MAX_ATTEMPTS,
      worker: `${name}@${hostname()}:${process.pid}`,
    },
    name,
    log,
  };
  const consumers = new TenantConsumers(parts, directory, settings.DRAIN_TIMEOUT_SEC * 1000);
  let state: 'running' | 'draining' = 'running';
  const health = await serveHealth(settings.SERVER_ADDRESS, () => {
    const tenants = consumers.state;
    // One tenant's broker that is away does not make the process useless to the others.
    const ready = state === 'running' && directory.known && (tenants.active === 0 || tenants.consuming > 0);
    return { ready, state, tenants, pools: pools.size };
  });
  directory.start();
  log.info(
    {
      mode: settings.MULTI_TENANT_ENABLED ? 'multi-tenant' : 'single-tenant',
      jobs: definitions.map(({ type }) => type),
      slots: settings.JOB_SLOTS,
      maxTenantPools: settings.MULTI_TENANT_MAX_TENANT_POOLS,
      connectionsPerTenant: settings.POSTGRES_MAX_OPEN_CONNS,
      port: health.port,
    },
    'started',
  );
  return {
    port: health.port,
    async stop() {
      state = 'draining';
      await directory.stop();
      await consumers.stop();
      await pools.closeAll();
      redis.disconnect();
      s3.destroy();
      await health.close();
    },
  };
}
