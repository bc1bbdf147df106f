import type { TenantDatabase } from '../postgres/tenant-database.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { cancelledEvent } from './contracts/events.ts';
import type { JobState } from './job-list.ts';
import { outboxRow } from './outbox.ts';

/** What a request to cancel a job found. */
export type CancelOutcome =
  /** No worker has begun it: none will, and its record will say `CANCELLED` when its message is taken. */
  | { found: 'NOT_STARTED' }
  /** Nobody was at it, since it waited for its next attempt or its process had died: its record is `CANCELLED` now, and its event is in the outbox. */
  | { found: 'WAITING' }
  /** A worker is at it, which hears of the request within about a second and ends the job, unless it is done before. */
  | { found: 'RUNNING'; worker: string | null }
  /** It had ended: nothing was changed. */
  | { found: 'ENDED'; state: Exclude<JobState, 'RUNNING' | 'WAITING'>; duplicateOf: string | null };

/**
 * Asks that a job be not done, whether or not anybody has heard of it yet. Asking again changes nothing.
 *
 * @param tenant whose job it is, for the event.
 */
export async function requestCancel(
  db: TenantDatabase,
  tenant: { tenantId: TenantId; slug: string },
  jobId: string,
): Promise<CancelOutcome> {
  for (;;) {
    const { eventId, eventType, body } = outboxRow(tenant, { eventType: cancelledEvent, jobId });
    const cancelled = await db.query(
      `WITH asked AS (
         INSERT INTO job_cancellations (job_id)
         SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND state NOT IN ('RUNNING', 'WAITING'))
         ON CONFLICT DO NOTHING),
       cancelled AS (
         UPDATE jobs SET state = 'CANCELLED', fence = fence + 1, lease_until = NULL, finished_at = now()
          WHERE id = $1 AND (state = 'WAITING' OR (state = 'RUNNING' AND lease_until < now())) RETURNING type, attempt)
       INSERT INTO outbox (event_id, event_type, body)
       SELECT $2::uuid, $3, $4::jsonb || jsonb_build_object('jobType', type, 'attempt', attempt) FROM cancelled
       RETURNING 1`,
      [jobId, eventId, eventType, JSON.stringify(body)],
    );
    if (cancelled.length === 1) return { found: 'WAITING' };
    const [job] = await db.query<{ state: JobState; worker: string | null; duplicateOf: string | null }>(
      'SELECT state, worker, duplicate_of AS "duplicateOf" FROM jobs WHERE id = $1',
      [jobId],
    );
    if (!job) return { found: 'NOT_STARTED' };
    if (job.state === 'RUNNING') return { found: 'RUNNING', worker: job.worker };
    // Given back since: now it can be cancelled at once.
    if (job.state === 'WAITING') continue;
    return { found: 'ENDED', state: job.state, duplicateOf: job.duplicateOf };
  }
}
