import { errorCode } from '../errors.ts';
import { unflushed } from '../postgres/session-state.ts';
import type { TenantDatabase } from '../postgres/tenant-database.ts';
import type { Transaction } from '../postgres/transaction.ts';
import { Batcher } from './batcher.ts';
import type { Failure } from './contracts/events.ts';
import type { JobMessage } from './message.ts';

/** The right to work on a job, until its lease ends unrenewed. The fence is what a commit is checked against. */
export interface Claim {
  readonly jobId: string;
  /** 1 at the first attempt. */
  readonly attempt: number;
  readonly fence: string;
  /** How often a process ended while it worked on the job. */
  readonly deaths: number;
  /** Hours since the job was first heard of. */
  readonly hours: number;
  /** Why it is not done yet: of the last attempt that did not succeed. */
  readonly lastError: Failure | null;
}

export type ClaimOutcome =
  | { kind: 'claimed'; claim: Claim }
  /** There is nothing left to do: done before, cancelled, or a duplicate of another job. */
  | { kind: 'finished'; state: 'SUCCEEDED' | 'CANCELLED' | 'DUPLICATE' }
  /** Failed for good before. */
  | { kind: 'failed'; error: Failure; attempt: number }
  /** Another process is at it, or was until it died: `secondsLeft` of its lease remain. */
  | { kind: 'held'; secondsLeft: number }
  /** A job with this id and another type or body exists. */
  | { kind: 'reused' };

export interface ClaimOptions {
  claims: Batcher<ClaimAsked, Claim | undefined>;
  /** How long (hours) another job's idempotency key makes this one its duplicate. */
  keyHours: number;
  /** The id of the job that succeeded with the message's idempotency key, as far as that is known without the database. */
  keyHolder(message: JobMessage): Promise<string | undefined>;
}

/** Events of jobs that are not done. */
export interface Announcements {
  cancelled(): OutboxRow;
  duplicate(of: string): OutboxRow;
}

/** PostgreSQL manual, appendix "PostgreSQL Error Codes". */
const uniqueViolation = '23505';

/**
 * Claims a job for this process, creating its record when it is new. One statement, so that of two claimants one wins.
 *
 * @param announce what is said of a job that turns out not to be done at all.
 */
export async function claimJob(
  db: TenantDatabase,
  message: JobMessage,
  options: ClaimOptions,
  announce: Announcements,
): Promise<ClaimOutcome> {
  const { claims } = options;
  const holder = message.idempotencyKey === null ? undefined : await options.keyHolder(message);
  if (holder !== undefined && holder !== message.id) {
    if (await recordRepeated(db, message, holder, options.keyHours, announce.duplicate(holder)))
      return { kind: 'finished', state: 'DUPLICATE' };
  }
  let claim: Claim | undefined;
  try {
    claim = await claims.ask({ db, message });
  } catch (error) {
    if (errorCode(error) !== uniqueViolation || message.idempotencyKey === null) throw error;
    if (await recordDuplicate(db, message, options.keyHours, announce.duplicate))
      return { kind: 'finished', state: 'DUPLICATE' };
    claim = await claims.ask({ db, message });
  }
  if (claim) return { kind: 'claimed', claim };
  const [found] = await db.query<{
    same: boolean | null;
    state: JobRow['state'] | null;
    seconds_left: number;
    error: Failure;
    attempt: number;
    cancelled: boolean;
  }>(
    `SELECT type = $2 AND body_sha256 = $3 AS same, state, error, attempt, cancelled.job_id IS NOT NULL AS cancelled,
            greatest(0, extract(epoch FROM lease_until - now()))::float AS seconds_left
       FROM (SELECT $1 AS id) AS job LEFT JOIN jobs USING (id) LEFT JOIN job_cancellations AS cancelled ON job_id = id`,
    [message.id, message.type, message.bodySha256],
  );
  if (!found || (found.state === null && !found.cancelled)) return { kind: 'held', secondsLeft: 0 };
  if (found.state !== null && !found.same) return { kind: 'reused' };
  const { state, error, attempt, seconds_left: secondsLeft } = found;
  if (state === 'FAILED') return { kind: 'failed', error, attempt };
  if (state === 'SUCCEEDED' || state === 'CANCELLED' || state === 'DUPLICATE') return { kind: 'finished', state };
  if (found.cancelled && (await cancelUnbegun(db, message, announce.cancelled())))
    return { kind: 'finished', state: 'CANCELLED' };
  return { kind: 'held', secondsLeft };
}

export interface ClaimAsked {
  db: TenantDatabase;
  message: JobMessage;
}

/**
 * How jobs of one tenant are claimed: several in one statement where several come at once. `undefined` is a job that can't be claimed now.
 *
 * @param worker names who claims, and nobody else ever: who claims what it has on record already has not heard the answer of before. It must not be at work on
 *   what it claims.
 */
export function claimBatches(leaseSec: number, worker: string): Batcher<ClaimAsked, Claim | undefined> {
  return new Batcher(async (asked) => {
    const messages = asked.map(({ message }) => message);
    const column = (of: (message: JobMessage) => unknown) => messages.map(of);
    // A claim that its own holder could not give back, or never heard of, is neither a death nor another attempt. The first comes with the fence of then, less one.
    const rows = await (asked[0] as ClaimAsked).db.query<ClaimRow>(
      `WITH quick AS MATERIALIZED (SELECT ${unflushed})
       INSERT INTO jobs AS job (id, type, body, body_sha256, idempotency_key, state, attempt, fence, lease_until, worker, started_at)
       SELECT id, type, body, sha256, key, 'RUNNING', 1, held + 1, now() + make_interval(secs => $7), $8, now()
         FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[], $5::text[], $6::bigint[]) AS asked (id, type, body, sha256, key, held), quick
        WHERE NOT EXISTS (SELECT 1 FROM job_cancellations WHERE job_id = id)
        ORDER BY id
       ON CONFLICT (id) DO UPDATE SET state = 'RUNNING', fence = job.fence + 1, lease_until = excluded.lease_until,
              worker = excluded.worker, started_at = now(),
              attempt = job.attempt + CASE WHEN job.state = 'RUNNING' AND ${own} THEN 0 ELSE 1 END,
              deaths = job.deaths + CASE WHEN job.state = 'RUNNING' AND NOT ${own} THEN 1 ELSE 0 END,
              error = CASE WHEN job.state = 'RUNNING' AND NOT ${own} THEN jsonb_build_object('code', 'PROCESS_DIED',
                      'message', concat('The process ', job.worker, ' ended or fell silent while it worked on the job, at attempt ', job.attempt),
                      'hint', NULL) ELSE job.error END
        WHERE job.type = excluded.type AND job.body_sha256 = excluded.body_sha256
          AND (job.state = 'WAITING' OR (job.state = 'RUNNING' AND (job.lease_until < now() OR ${own})))
       RETURNING id, attempt, fence, deaths, error, (extract(epoch FROM now() - created_at) / 3600)::float AS hours`,
      [
        column(({ id }) => id),
        column(({ type }) => type),
        column(({ sent }) => JSON.stringify(sent)),
        column(({ bodySha256 }) => bodySha256),
        column(({ idempotencyKey }) => idempotencyKey),
        column(({ heldFence }) => heldFence ?? '0'),
        leaseSec,
        worker,
      ],
    );
    const claims = new Map(rows.map(({ id, error, ...claim }) => [id, { jobId: id, lastError: error, ...claim }]));
    return messages.map(({ id }) => claims.get(id));
  });
}

/** Whether the claim on record is of whoever claims now. Never null: a record of old may have no worker. */
const own = `(job.fence = excluded.fence - 1 OR job.worker IS NOT DISTINCT FROM excluded.worker)`;

type ClaimRow = Omit<Claim, 'jobId' | 'lastError'> & { id: string; error: Failure | null };

/**
 * Another job of the type has the message's idempotency key. When that is long ago, it gives the key up; else this one is on record as its duplicate.
 *
 * @returns whether it is a duplicate.
 */
async function recordDuplicate(
  db: TenantDatabase,
  message: JobMessage,
  keyHours: number,
  announce: Announcements['duplicate'],
): Promise<boolean> {
  const [original] = await db.query<{ id: string; old: boolean }>(
    `SELECT id, created_at < now() - make_interval(hours => $3) AS old FROM jobs
      WHERE type = $1 AND idempotency_key = $2`,
    [message.type, message.idempotencyKey, keyHours],
  );
  if (!original) return false;
  if (original.old) {
    await db.query('UPDATE jobs SET idempotency_key = NULL WHERE id = $1', [original.id]);
    return false;
  }
  await db.query(
    `WITH duplicate AS (
       INSERT INTO jobs (id, type, body, body_sha256, state, duplicate_of, finished_at)
       VALUES ($1, $2, $3, $4, 'DUPLICATE', $5, now()) ON CONFLICT (id) DO NOTHING RETURNING 1)
     INSERT INTO outbox (event_id, event_type, body) SELECT $6::uuid, $7, $8::jsonb FROM duplicate`,
    [
      message.id,
      message.type,
      JSON.stringify(message.sent),
      message.bodySha256,
      original.id,
      ...values(announce(original.id)),
    ],
  );
  return true;
}

/**
 * Another job is remembered elsewhere to have succeeded with the message's idempotency key: when the database knows it, too, this one is on record as its
 * duplicate. (A database that was restored to an earlier state has lost the other's work with its record.)
 *
 * @returns whether it is a duplicate.
 */
async function recordRepeated(
  db: TenantDatabase,
  message: JobMessage,
  original: string,
  keyHours: number,
  event: OutboxRow,
): Promise<boolean> {
  const rows = await db.query(
    `WITH duplicate AS (
       INSERT INTO jobs (id, type, body, body_sha256, state, duplicate_of, finished_at)
       SELECT $1, $2, $3::jsonb, $4::bytea, 'DUPLICATE', $5, now()
        WHERE NOT EXISTS (SELECT 1 FROM job_cancellations WHERE job_id = $1)
          AND EXISTS (SELECT 1 FROM jobs WHERE id = $5 AND type = $2 AND idempotency_key = $6
                                           AND created_at >= now() - make_interval(hours => $7))
       ON CONFLICT (id) DO NOTHING RETURNING 1)
     INSERT INTO outbox (event_id, event_type, body) SELECT $8::uuid, $9, $10::jsonb FROM duplicate RETURNING 1`,
    [
      message.id,
      message.type,
      JSON.stringify(message.sent),
      message.bodySha256,
      original,
      message.idempotencyKey,
      keyHours,
      ...values(event),
    ],
  );
  return rows.length === 1;
}

/** @returns false when a process has it, which hears of the cancellation by itself. */
async function cancelUnbegun(db: TenantDatabase, message: JobMessage, event: OutboxRow): Promise<boolean> {
  const rows = await db.query(
    `WITH cancelled AS (
       INSERT INTO jobs AS job (id, type, body, body_sha256, state, finished_at) VALUES ($1, $2, $3, $4, 'CANCELLED', now())
       ON CONFLICT (id) DO UPDATE SET state = 'CANCELLED', fence = job.fence + 1, lease_until = NULL, finished_at = now()
        WHERE job.state = 'WAITING' OR (job.state = 'RUNNING' AND job.lease_until < now())
       RETURNING 1)
     INSERT INTO outbox (event_id, event_type, body) SELECT $5::uuid, $6, $7::jsonb FROM cancelled RETURNING 1`,
    [message.id, message.type, JSON.stringify(message.sent), message.bodySha256, ...values(event)],
  );
  return rows.length === 1;
}

/**
 * Looks after a claim, and prolongs its lease when told to.
 *
 * @param leaseSec undefined: only looks.
 */
export async function checkClaim(
  db: TenantDatabase,
  claim: Claim,
  leaseSec?: number,
): Promise<{ ours: boolean; cancelled: boolean }> {
  const cancelled = 'EXISTS (SELECT 1 FROM job_cancellations WHERE job_id = $1) AS cancelled';
  const mine = `id = $1 AND fence = $2 AND state = 'RUNNING'`;
  const [row] =
    leaseSec === undefined
      ? await db.query<{ cancelled: boolean }>(`SELECT ${cancelled} FROM jobs WHERE ${mine}`, [
          claim.jobId,
          claim.fence,
        ])
      : await db.query<{ cancelled: boolean }>(
          `UPDATE jobs SET lease_until = now() + make_interval(secs => $3) WHERE ${mine} RETURNING ${cancelled}`,
          [claim.jobId, claim.fence, leaseSec],
        );
  return { ours: row !== undefined, cancelled: row?.cancelled ?? false };
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

/** An event as the outbox keeps it. */
export interface OutboxRow {
  eventId: string;
  eventType: string;
  body: object;
}

export type JobEnding =
  | { state: 'SUCCEEDED'; result: unknown }
  | { state: 'FAILED'; error: Failure }
  | { state: 'CANCELLED' };

/** How a job is to end, and what is said of it. */
export interface Ending {
  claim: Claim;
  end: JobEnding;
  event: OutboxRow;
}

export interface EndAsked extends Ending {
  db: Pick<TenantDatabase | Transaction, 'query'>;
}

/** @returns how jobs of one tenant that have nothing else to write are ended: several in one statement where several end at once. */
export function endBatches(): Batcher<EndAsked, boolean> {
  return new Batcher(endJobs);
}

/**
 * Ends jobs and puts what is said of them into the outbox, in one statement: by itself, or in the transaction that holds a job's effects.
 *
 * @returns for each, false when its claim was lost meanwhile: nothing was written of it, and a transaction must not be committed.
 */
export async function endJobs(asked: readonly EndAsked[]): Promise<boolean[]> {
  const column = (of: (asked: EndAsked) => unknown) => asked.map(of);
  // clock_timestamp, since now() is when the transaction began, which for a long job is long ago.
  const rows = await (asked[0] as EndAsked).db.query<{ id: string }>(
    `WITH asked AS MATERIALIZED (
       SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::jsonb[], $5::jsonb[], $6::uuid[], $7::text[], $8::jsonb[])
              AS asked (id, fence, state, result, error, event_id, event_type, event)),
     ended AS (
       UPDATE jobs SET state = asked.state, result = asked.result, error = asked.error, lease_until = NULL, finished_at = clock_timestamp()
         FROM asked WHERE jobs.id = asked.id AND jobs.fence = asked.fence AND jobs.state = 'RUNNING' RETURNING jobs.id),
     said AS (
       INSERT INTO outbox (event_id, event_type, body) SELECT event_id, event_type, event FROM asked JOIN ended USING (id))
     SELECT id FROM ended`,
    [
      column(({ claim }) => claim.jobId),
      column(({ claim }) => claim.fence),
      column(({ end }) => end.state),
      column(({ end }) => (end.state === 'SUCCEEDED' ? JSON.stringify(end.result) : null)),
      column(({ end }) => (end.state === 'FAILED' ? JSON.stringify(end.error) : null)),
      column(({ event }) => event.eventId),
      column(({ event }) => event.eventType),
      column(({ event }) => JSON.stringify(event.body)),
    ],
  );
  const ended = new Set(rows.map(({ id }) => id));
  return asked.map(({ claim }) => ended.has(claim.jobId));
}

function values({ eventId, eventType, body }: OutboxRow): string[] {
  return [eventId, eventType, JSON.stringify(body)];
}

export interface JobRow {
  id: string;
  type: string;
  state: 'RUNNING' | 'WAITING' | 'SUCCEEDED' | 'FAILED' | 'CANCELLED' | 'DUPLICATE';
  attempt: number;
  result: unknown;
  error: Failure | null;
  duplicate_of: string | null;
}

export async function readJob(db: TenantDatabase, id: string): Promise<JobRow | undefined> {
  const [row] = await db.query<JobRow>(
    'SELECT id, type, state, attempt, result, error, duplicate_of FROM jobs WHERE id = $1',
    [id],
  );
  return row;
}
