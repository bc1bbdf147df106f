import type { Settings } from '@matcher/shared/config/variables.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';

const batch = 1000;

/**
 * How long (hours) the record of a finished job is kept. Without it the same id would be a new job: it has to be there for as long as its message can come
 * back, from a queue or from its publisher.
 */
export function retentionHours(settings: Settings): number {
  const { JOB_RETENTION_DAYS, JOB_PATIENCE_HOURS, IDEMPOTENCY_SUCCESS_TTL_HOURS } = settings;
  return Math.max(24 * JOB_RETENTION_DAYS, 2 * JOB_PATIENCE_HOURS, IDEMPOTENCY_SUCCESS_TTL_HOURS);
}

/**
 * Removes the records of jobs that ended so long ago, except those whose loads, runs, exports or rejected records are still there, and the cancellations that
 * belong to them. Returns how many of each.
 */
export async function removeOldRecords(
  db: TenantDatabase,
  hours: number,
  signal: AbortSignal,
): Promise<{ records: number; cancellations: number }> {
  const records = await inBatches(signal, () =>
    db.query(
      `WITH old AS (
         SELECT id FROM jobs
          WHERE created_at < now() - make_interval(hours => $1)
            AND coalesce(finished_at, created_at) < now() - make_interval(hours => $1)
            AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'DUPLICATE')
            AND NOT EXISTS (SELECT FROM loads WHERE job_id = jobs.id)
            AND NOT EXISTS (SELECT FROM match_runs WHERE job_id = jobs.id)
            AND NOT EXISTS (SELECT FROM exports WHERE job_id = jobs.id)
            AND NOT EXISTS (SELECT FROM rejected_records WHERE job_id = jobs.id)
          LIMIT $2 FOR UPDATE SKIP LOCKED),
       cancelled AS (DELETE FROM job_cancellations WHERE job_id IN (SELECT id FROM old))
       DELETE FROM jobs WHERE id IN (SELECT id FROM old) RETURNING id`,
      [hours, batch],
    ),
  );
  const cancellations = await inBatches(signal, () =>
    db.query(
      `DELETE FROM job_cancellations WHERE job_id IN (
         SELECT job_id FROM job_cancellations
          WHERE requested_at < now() - make_interval(hours => $1)
            AND NOT EXISTS (SELECT FROM jobs WHERE id = job_id AND state IN ('RUNNING', 'WAITING'))
          LIMIT $2) RETURNING job_id`,
      [hours, batch],
    ),
  );
  return { records, cancellations };
}

async function inBatches(signal: AbortSignal, remove: () => Promise<unknown[]>): Promise<number> {
  for (let removed = 0; ; ) {
    signal.throwIfAborted();
    const { length } = await remove();
    removed += length;
    if (length < batch) return removed;
  }
}
