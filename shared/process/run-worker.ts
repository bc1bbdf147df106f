import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Settings } from '../config/variables.ts';
import type { AnyJobDefinition } from '../jobs/definition.ts';
import { FairSlots } from '../jobs/fair-slots.ts';
import { TenantConsumers } from '../jobs/tenant-consumers.ts';
import { createS3Client } from '../objects/tenant-objects.ts';
import type { Logger } from '../observability/log.ts';
import { createMetrics } from '../observability/metrics.ts';
import { TenantPools } from '../postgres/tenant-pools.ts';
import { BrokerAnswers } from '../rabbitmq/broker-answers.ts';
import { ConnectTurns } from '../rabbitmq/connect-turns.ts';
import { settledWithin } from '../rabbitmq/connect-vhost.ts';
import { createRedis } from '../redis/tenant-redis.ts';
import { TenantDirectory } from '../tenancy/directory.ts';
import { FleetShare, fleetTiming } from '../tenancy/fleet-share.ts';
import { TenantRefresher } from '../tenancy/refresh.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { createTenantSource } from '../tenancy/tenant-source.ts';
import { memberExchange } from './fleet-members.ts';
import { announce } from './fleet-registry.ts';
import { serveHealth } from './health-server.ts';
import { type Running, runProcess } from './run-process.ts';
import { startupReport, startupWarnings } from './startup-report.ts';
import { WorkerStatus } from './worker-status.ts';

/** How long (ms) pools may take to close when all jobs have ended or were left behind. */
const leftBehindMs = 10_000;

/** The main of a worker process: works the given kinds of jobs for every active tenant, until it is told to stop. */
export function runWorker(name: string, definitions: readonly AnyJobDefinition[]): Promise<void> {
  return runProcess(name, 'worker', (settings, log) => startWorker(name, definitions, settings, log));
}

export interface RunningWorker extends Running {
  /** Port of /health, /ready and /metrics. */
  readonly port: number;
}

/**
 * Starts a worker inside this process. It is ready once the list of tenants was read and those that are its own are being consumed.
 *
 * @param timing how it finds out about the other processes of its kind; a test has no time to wait.
 */
export async function startWorker(
  name: string,
  definitions: readonly AnyJobDefinition[],
  settings: Settings,
  log: Logger,
  timing = fleetTiming,
): Promise<RunningWorker> {
  const id = randomUUID();
  const jobs = definitions.map(({ type }) => type);
  const metrics = createMetrics();
  const source = createTenantSource(settings, { log, metrics });
  const redis = createRedis(settings, log);
  const s3 = createS3Client(settings);
  const directory = new TenantDirectory(source, settings, log, metrics);
  const credentialsRefused = (tenantId: TenantId) => refresher.credentialsRefused(tenantId);
  const broken = Promise.withResolvers<never>();
  // It is looked at by whoever runs the process, if anybody.
  broken.promise.catch(() => {});
  const pools = new TenantPools(source, settings, log, {
    metrics,
    onRefused: credentialsRefused,
    onOpen: (tenantId) => consumers.get(tenantId)?.sendLeftEvents(),
  });
  const parts = {
    source,
    pools,
    s3,
    redis,
    settings,
    definitions,
    slots: new FairSlots({ total: settings.JOB_SLOTS, perTenant: slotsPerTenant(settings) }),
    weights: settings.JOB_TENANT_WEIGHTS,
    turns: new ConnectTurns(),
    answers: new BrokerAnswers(),
    credentialsRefused,
    deaf: broken.reject,
    run: {
      leaseSec: settings.JOB_LEASE_SEC,
      keyHours: settings.IDEMPOTENCY_SUCCESS_TTL_HOURS,
      maxAttempts: settings.JOB_MAX_ATTEMPTS,
      patienceHours: settings.JOB_PATIENCE_HOURS,
      deadlines: settings.JOB_DEADLINES,
      worker: `${name}@${hostname()}:${process.pid}`,
    },
    name,
    log,
    metrics,
  };
  const share = settings.MULTI_TENANT_ENABLED
    ? new FleetShare({
        self: { id, jobs },
        own: () => ({ eligible: directory.known, settled: consumers.settled, busy: [...consumers.busy] }),
        exchange: memberExchange(redis, settings, name, timing.believed),
        active: directory.active,
        limit: settings.MULTI_TENANT_MAX_TENANT_POOLS,
        timing,
        log,
      })
    : undefined;
  const consumers = new TenantConsumers(parts, directory, settings.DRAIN_TIMEOUT_SEC * 1000, share);
  const refresher = new TenantRefresher({ source, directory, open: [pools, consumers], settings, log, metrics });
  const status = new WorkerStatus({ ...parts, id, kind: name, jobs, directory, consumers });
  const health = await serveHealth(settings.SERVER_ADDRESS, () => status.readiness(), metrics.registry);
  share?.start();
  directory.start();
  refresher.start();
  log.info({ ...startupReport(settings), jobs, port: health.port }, 'started');
  for (const warning of startupWarnings(settings)) log.warn(warning);
  const announcement = announce(redis, settings, log, () => status.snapshot(health.port));
  const stopWatching = status.watch(() => announcement.soon());
  return {
    port: health.port,
    broken: broken.promise,
    async stop() {
      status.drain();
      announcement.soon();
      refresher.stop();
      await Promise.all([share?.stop(), directory.stop()]);
      await consumers.stop();
      // A job that does not even end when it is told to holds its pool; it ends with the process.
      await settledWithin(leftBehindMs, pools.closeAll());
      status.stopped();
      stopWatching();
      await announcement.stop();
      redis.disconnect();
      s3.destroy();
      await health.close();
    },
  };
}

/** A single tenant has all of them; of several, none may have the last one, too. */
function slotsPerTenant({ JOB_SLOTS, JOB_SLOTS_PER_TENANT, MULTI_TENANT_ENABLED }: Settings): number {
  const most = MULTI_TENANT_ENABLED ? Math.max(1, JOB_SLOTS - 1) : JOB_SLOTS;
  return Math.min(JOB_SLOTS, JOB_SLOTS_PER_TENANT || most);
}
