import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import { createS3Client } from '@matcher/shared/objects/tenant-objects.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { type Readiness, serveHealth } from '@matcher/shared/process/health-server.ts';
import type { Running } from '@matcher/shared/process/run-process.ts';
import { settledWithin } from '@matcher/shared/rabbitmq/connect-vhost.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { Slots } from '@matcher/shared/slots.ts';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { workQueue } from './bull.ts';
import { FiringQueue, firingQueueName } from './firing-queue.ts';
import { Firings } from './firings.ts';
import { Maintenance } from './maintenance/maintain.ts';
import { MaintenanceQueue, maintenanceQueueName } from './maintenance-queue.ts';
import { createMetrics } from './metrics.ts';
import { takePokes } from './pokes.ts';
import { syncSchedules } from './sync.ts';
import { TenantRoster } from './tenant-roster.ts';
import { Visits } from './visit.ts';

/** Firings at the same time in this process. A server that does not answer holds one of them for ten seconds. */
const firingsAtOnce = 32;
/** Tenants that this process looks after at the same time, each with a connection of its own. */
const maintenancesAtOnce = 2;
/** Tenants whose schedules are compared at the same time because somebody said so. */
const pokesAtOnce = 2;
/** How long (ms) what is open may take to close when nothing is done with it any more. */
const goodbyeMs = 5000;

export interface RunningScheduler extends Running {
  /** Port of /health, /ready and /metrics. */
  readonly port: number;
}

/** Starts a scheduler inside this process. It is ready once the list of tenants was read and Redis can be reached. */
export async function startScheduler(settings: Settings, log: Logger): Promise<RunningScheduler> {
  const metrics = createMetrics();
  const source = createTenantSource(settings, { log, metrics: metrics.shared });
  const directory = new TenantDirectory(source, settings, log, metrics.shared);
  const redis = createRedis(settings, log);
  const s3 = createS3Client(settings);
  const visits = new Visits(source, settings, log);
  const firingQueue = new FiringQueue(redis, settings, log);
  const maintenanceQueue = new MaintenanceQueue(redis, settings, log);
  const roster = new TenantRoster(directory, maintenanceQueue, firingQueue, log);
  const common = { source, directory, visits, settings, log, metrics };
  const firings = new Firings({ ...common, queue: firingQueue });
  const maintenance = new Maintenance({ ...common, firings: firingQueue, queue: maintenanceQueue, s3 });
  /** What is under way must end. */
  const ending = new AbortController();

  let state: 'starting' | 'running' | 'stalled' | 'draining' = 'starting';
  const readiness = (): Readiness => {
    const reasons: string[] = [];
    if (state === 'draining') reasons.push('it is stopping');
    if (!directory.known) reasons.push('the list of active tenants could not be read yet');
    if (redis.status !== 'ready') reasons.push('Redis is not reachable');
    const ready = reasons.length === 0;
    if (state !== 'draining') state = ready ? 'running' : state === 'starting' ? 'starting' : 'stalled';
    return { ready, state, reasons, tenants: { active: directory.active.size }, breaker: source.breaker ?? null };
  };
  const health = await serveHealth(settings.SERVER_ADDRESS, readiness, metrics.registry);

  const slots = new Slots(pokesAtOnce);
  const syncing = new Set<Promise<void>>();
  const sync = async (tenantId: TenantId) => {
    const release = await slots.acquire(ending.signal);
    try {
      // One that is not active here yet is looked after as soon as it is.
      if (!directory.active.has(tenantId)) return;
      await visits.visit(tenantId, ({ db }) => syncSchedules(tenantId, db, firingQueue, log, ending.signal));
    } finally {
      release();
    }
  };
  const stopTaking = takePokes(settings, log, (tenantId) => {
    const one = sync(tenantId)
      .catch((error) => {
        if (ending.signal.aborted) return;
        const failure = { tenantId, code: errorCode(error), reason: errorMessage(error) };
        log.warn(failure, 'changed schedules are not in force before the next maintenance');
      })
      .finally(() => syncing.delete(one));
    syncing.add(one);
  });
  directory.start();
  const workers = [
    workQueue(firingQueueName, (due) => firings.fire(due, ending.signal), firingsAtOnce, settings, log),
    workQueue(
      maintenanceQueueName,
      ({ data }) => maintenance.maintain(canonicalTenantId(data.tenantId), ending.signal),
      maintenancesAtOnce,
      settings,
      log,
    ),
  ];
  log.info({ port: health.port, intervalSec: settings.MAINTENANCE_INTERVAL_SEC }, 'started');
  return {
    port: health.port,
    async stop() {
      state = 'draining';
      const drained = new AbortController();
      void delay(settings.DRAIN_TIMEOUT_SEC * 1000, undefined, { signal: drained.signal }).then(
        () => ending.abort(new Error('the process stops')),
        () => {},
      );
      const done = Promise.all([stopTaking(), directory.stop(), roster.stop(), ...workers.map((one) => one.close())]);
      await settledWithin(settings.DRAIN_TIMEOUT_SEC * 1000 + goodbyeMs, done);
      await settledWithin(goodbyeMs, Promise.all(syncing));
      drained.abort();
      ending.abort(new Error('the process stops'));
      await settledWithin(goodbyeMs, Promise.all([firingQueue.close(), maintenanceQueue.close()]));
      redis.disconnect();
      s3.destroy();
      await health.close();
    },
  };
}
