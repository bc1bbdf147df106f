import type { TenantDatabase, Transaction } from '../postgres/tenant-database.ts';
import type { Failure } from './contracts/events.ts';
import type { JobMessage } from './message.ts';

/** The right to work on a job, until its lease ends unrenewed. The fence is what a commit is checked against. */
export interface Claim {
  readonly jobId: string;
  /** 1 at the first attempt. */
  readonly attempt: number;
  readonly fence: string;
}

export type ClaimOutcome =
  | { kind: 'claimed'; claim: Claim }
  /** Done before; there is nothing left to do. */
  | { kind: 'finished' }
  /** Failed for good before. */
  | { kind: 'failed'; error: Failure; attempt: number }
  /** Another process is at it, or was until it died: `secondsLeft` of its lease remain. */
  | { kind: 'held'; secondsLeft: number }
  /** A job with this id and another type or body exists. */
  | { kind: 'reused' };

/** Claims a job for this process, creating its record when it is new. One statement, so that of two claimants one wins. */
export async function claimJob(
  db: TenantDatabase,
  message: JobMessage,
  leaseSec: number,
  worker: string,
): Promise<ClaimOutcome> {
  const [claimed] = await db.query<{ attempt: number; fence: string }>(
    `INSERT INTO jobs AS job (id, type, body, body_sha256, state, attempt, fence, lease_until, worker, started_at)
     VALUES ($1, $2, $3, $4, 'RUNNING', 1, 1, now() + make_interval(secs => $5), $6, now())
     ON CONFLICT (id) DO UPDATE SET state = 'RUNNING', attempt = job.attempt + 1, fence = job.fence + 1,
            lease_until = excluded.lease_until, worker = excluded.worker, started_at = now()
      WHERE job.type = excluded.type AND job.body_sha256 = excluded.body_sha256
        AND (job.state = 'WAITING' OR (job.state = 'RUNNING' AND job.lease_until < now()))
     RETURNING attempt, fence`,
    [message.id, message.type, JSON.stringify(message.body), message.bodySha256, leaseSec, worker],
  );
  if (claimed) return { kind: 'claimed', claim: { jobId: message.id, ...claimed } };
  const [found] = await db.query<{
    same: boolean;
    state: string;
    seconds_left: number;
    error: Failure;
    attempt: number;
  }>(
    `SELECT type = $2 AND body_sha256 = $3 AS same, state, error, attempt,
            greatest(0, extract(epoch FROM lease_until - now()))::float AS seconds_left
       FROM jobs WHERE id = $1`,
    [message.id, message.type, message.bodySha256],
  );
  if (!found) return { kind: 'held', secondsLeft: 0 };
  if (!found.same) return { kind: 'reused' };
  if (found.state === 'RUNNING' || found.state === 'WAITING') return { kind: 'held', secondsLeft: found.seconds_left };
  if (found.state === 'FAILED') return { kind: 'failed', error: found.error, attempt: found.attempt };
  return { kind: 'finished' };
}

/** @returns false when the claim is no longer ours. */
export async function renewClaim(db: TenantDatabase, claim: Claim, leaseSec: number): Promise<boolean> {
  const rows = await db.query(
    `UPDATE jobs SET lease_until = now() + make_interval(secs => $3)
      WHERE id = $1 AND fence = $2 AND state = 'RUNNING' RETURNING 1`,
    [claim.jobId, claim.fence, leaseSec],
  );
  return rows.length === 1;
}

/** Gives the job back to be tried again. A job that could not be worked on for now is not charged the attempt. */
export async function releaseClaim(
  db: TenantDatabase,
  claim: Claim,
  failure: Failure,
  charged: boolean,
): Promise<void> {
  await db.query(
    `UPDATE jobs SET state = 'WAITING', lease_until = NULL, error = $3, attempt = attempt - $4
      WHERE id = $1 AND fence = $2 AND state = 'RUNNING'`,
    [claim.jobId, claim.fence, JSON.stringify(failure), charged ? 0 : 1],
  );
}

/**
 * Ends the job inside the transaction that holds its effects.
 *
 * @returns false when the claim was lost meanwhile: the transaction must not be committed.
 */
export async function finishJob(
  tx: Transaction,
  claim: Claim,
  end: { state: 'SUCCEEDED'; result: unknown } | { state: 'FAILED'; error: Failure },
): Promise<boolean> {
  // clock_timestamp, since now() is when the transaction began, which for a long job is long ago.
  const touched = await tx.execute(
    `UPDATE jobs SET state = $3, result = $4, error = $5, lease_until = NULL, finished_at = clock_timestamp()
      WHERE id = $1 AND fence = $2 AND state = 'RUNNING'`,
    [
      claim.jobId,
      claim.fence,
      end.state,
      end.state === 'SUCCEEDED' ? JSON.stringify(end.result) : null,
      end.state === 'FAILED' ? JSON.stringify(end.error) : null,
    ],
  );
  return touched === 1;
}

export interface JobRow {
  id: string;
  type: string;
  state: 'RUNNING' | 'WAITING' | 'SUCCEEDED' | 'FAILED';
  attempt: number;
  result: unknown;
  error: Failure | null;
}

export async function readJob(db: TenantDatabase, id: string): Promise<JobRow | undefined> {
  const [row] = await db.query<JobRow>('SELECT id, type, state, attempt, result, error FROM jobs WHERE id = $1', [id]);
  return row;
}
