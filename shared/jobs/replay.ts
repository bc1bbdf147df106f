import { MatcherError } from '../errors.ts';
import type { TenantDatabase } from '../postgres/tenant-database.ts';
import { republish } from '../rabbitmq/dead-letter.ts';
import type { HeldLetter } from '../rabbitmq/dead-letters.ts';
import type { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { JobType } from './contracts/job-types.ts';
import type { JobState } from './job-list.ts';
import { type JobMessage, readJobMessage } from './message.ts';
import type { JobRecords } from './records.ts';

export interface ReplayParts {
  tenantId: TenantId;
  connection: VhostConnection;
  records: JobRecords;
  /** Whether a job that was cancelled is done all the same. */
  cancelled: boolean;
}

/**
 * Gives a dead letter back to its job queue, with fresh attempts. The dead letter is removed only after the broker has confirmed the new message: a
 * crash in between leaves two of one id, of which one is done, and never none.
 *
 * @returns `cancelled` when it stays where it is, because its job was cancelled.
 * @throws MatcherError `JOB_ID_MISSING`, `UNROUTABLE`, `MESSAGE_TOO_LARGE` about this letter; `BROKER_UNAVAILABLE`, `NOT_CONFIRMED`,
 *   `DATABASE_UNAVAILABLE`, `SCHEMA_TOO_OLD` about the tenant's servers. In every case the letter stays.
 */
export async function replayLetter(held: HeldLetter, parts: ReplayParts): Promise<'replayed' | 'cancelled'> {
  const { message, letter } = held;
  if (letter.jobId === null) {
    throw new MatcherError('JOB_ID_MISSING', 'The message has no message_id, so it would be refused again', {
      hint: 'Publish it anew under an id, and drop this one.',
    });
  }
  const job = asJob(held, parts.tenantId);
  if (job) {
    const before = await parts.records.write((db) => reviveJob(db, job, parts.cancelled));
    if (before === 'CANCELLED' && !parts.cancelled) return 'cancelled';
  }
  await republish(parts.connection, message);
  held.remove();
  return 'replayed';
}

/** What is no job of this tenant has no record to be revived, and will come back with the same reason, or, for newer workers, with none. */
function asJob({ message, letter }: HeldLetter, tenantId: TenantId): JobMessage | undefined {
  try {
    return readJobMessage(message, letter.routingKey as JobType, tenantId);
  } catch {
    return undefined;
  }
}

/**
 * Takes the end from a job that failed, or, when told to, that was cancelled: it waits again, as if it had never been tried.
 *
 * @returns the state before, or `undefined` when this very job has no record.
 */
export async function reviveJob(
  db: TenantDatabase,
  job: Pick<JobMessage, 'id' | 'type' | 'bodySha256'>,
  cancelledToo: boolean,
): Promise<JobState | undefined> {
  const [before] = await db.query<{ state: JobState }>(
    `WITH revived AS (
       UPDATE jobs SET state = 'WAITING', attempt = 0, deaths = 0, error = NULL, worker = NULL,
              created_at = now(), started_at = NULL, finished_at = NULL
        WHERE id = $1 AND type = $2 AND body_sha256 = $3 AND (state = 'FAILED' OR (state = 'CANCELLED' AND $4::boolean))
       RETURNING id),
     forgotten AS (
       DELETE FROM job_cancellations WHERE job_id = $1 AND ($4::boolean OR EXISTS (SELECT 1 FROM revived)))
     SELECT state FROM jobs WHERE id = $1 AND type = $2 AND body_sha256 = $3`,
    [job.id, job.type, job.bodySha256, cancelledToo],
  );
  return before?.state;
}
