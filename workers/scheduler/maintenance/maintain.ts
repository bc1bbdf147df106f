import type { S3Client } from '@aws-sdk/client-s3';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import { drainOutbox } from '@matcher/shared/jobs/outbox.ts';
import { tenantLeftovers } from '@matcher/shared/objects/leftovers.ts';
import { tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import type { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import { forbidsServing } from '@matcher/shared/tenancy/manager-refusals.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { FiringQueue } from '../firing-queue.ts';
import type { MaintenanceQueue } from '../maintenance-queue.ts';
import type { SchedulerMetrics } from '../metrics.ts';
import { syncSchedules } from '../sync.ts';
import type { Visit, Visits } from '../visit.ts';
import { abortUnfinishedUploads, removeExpiredExports, removeOrphans } from './exports.ts';
import { removeOldRecords, retentionHours } from './retention.ts';

export interface MaintenanceParts {
  source: TenantSource;
  directory: TenantDirectory;
  visits: Visits;
  firings: FiringQueue;
  queue: MaintenanceQueue;
  s3: S3Client;
  settings: Settings;
  log: Logger;
  metrics: SchedulerMetrics;
}

/** What takes longer (ms) at one tenant is gone on with at its next turn: others wait for theirs. */
const longestVisit = 60_000;

/** Younger objects and uploads (ms) may still be somebody's work. */
const leftoverAge = 24 * 3_600_000;

/** Looks after one tenant: what no traffic of its own would ever bring about. */
export class Maintenance {
  readonly #parts: MaintenanceParts;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
  }

  /** Never throws: a failure is logged and counted, and the tenant's next turn comes. */
  async maintain(tenantId: TenantId, stopping: AbortSignal): Promise<void> {
    const { source, directory, queue, firings, metrics, visits } = this.#parts;
    const end = metrics.maintenanceDuration.startTimer();
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(longestVisit)]);
    let failed = false;
    const attempt = async (step: string, work: () => Promise<void>) => {
      try {
        signal.throwIfAborted();
        await work();
      } catch (error) {
        failed = true;
        if (!stopping.aborted) this.#failed(tenantId, step, error);
      }
    };
    try {
      await source.config(tenantId);
    } catch (error) {
      if (forbidsServing(error)) {
        // A tenant that was suspended while no scheduler ran: its turn would come for ever.
        if (directory.known && !directory.active.has(tenantId)) {
          await queue.drop(tenantId);
          await firings.dropAll(tenantId);
        }
        metrics.maintenances.inc({ outcome: 'inactive' });
        return;
      }
      this.#failed(tenantId, 'visit', error);
      metrics.maintenances.inc({ outcome: 'failed' });
      return;
    }
    await attempt('visit', async () => {
      await visits.visit(tenantId, async (visit) => {
        for (const [step, work] of Object.entries(this.#steps(visit, signal))) await attempt(step, work);
      });
    });
    metrics.maintenances.inc({ outcome: failed ? 'failed' : 'done' });
    end();
  }

  /** What is done at a visit, in this order, each whether or not the others fail. */
  #steps({ tenantId, db, vhost }: Visit, signal: AbortSignal): Record<string, () => Promise<void>> {
    const { firings, queue, s3, settings, log, metrics } = this.#parts;
    const space = keySpaceOf(settings, tenantId);
    const objects = tenantObjects(s3, settings, space);
    const leftovers = tenantLeftovers(s3, settings, space);
    const count = (kind: string, items: number) => {
      if (items === 0) return;
      metrics.maintained.inc({ kind }, items);
      log.info({ tenantId, kind, items }, 'maintained');
    };
    return {
      schedules: async () => count('schedules', await syncSchedules(tenantId, db, firings, log, signal)),
      outbox: () => drainOutbox(db, vhost, tenantId, signal),
      exports: async () => count('expired', await removeExpiredExports(db, objects, signal)),
      bucket: async () => {
        if (!(await queue.isSweepDue(tenantId))) return;
        const before = new Date(Date.now() - leftoverAge);
        count('orphans', await removeOrphans(db, objects, leftovers, before, signal));
        count('uploads', await abortUnfinishedUploads(leftovers, before, signal));
        await queue.swept(tenantId);
      },
      records: async () => {
        const { records, cancellations } = await removeOldRecords(db, retentionHours(settings), signal);
        count('records', records);
        count('cancellations', cancellations);
      },
    };
  }

  #failed(tenantId: TenantId, step: string, error: unknown): void {
    const code = errorCode(error);
    this.#parts.metrics.maintenanceFailures.inc({ step, code });
    this.#parts.log.warn({ tenantId, step, code, reason: errorMessage(error) }, 'a step of the maintenance failed');
  }
}
