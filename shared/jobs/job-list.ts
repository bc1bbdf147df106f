import type { TenantDatabase } from '../postgres/tenant-database.ts';
import type { Failure } from './contracts/events.ts';
import type { JobRow } from './record.ts';

export type JobState = JobRow['state'];

export const jobStates = [
  'WAITING',
  'RUNNING',
  'SUCCEEDED',
  'FAILED',
  'CANCELLED',
  'DUPLICATE',
] as const satisfies JobState[];

/** A job's record, without what is large in it. */
export interface ListedJob {
  id: string;
  type: string;
  state: JobState;
  /** Attempts that were charged. */
  attempt: number;
  /** How often a process ended while it worked on the job. */
  deaths: number;
  /** The process that works on it, or did last. */
  worker: string | null;
  /** Of the last attempt that did not succeed. */
  error: Failure | null;
  duplicateOf: string | null;
  createdAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
  /** Seconds since its record was made, by the database's clock. */
  age: number;
  /** Seconds that its last attempt took, or has taken so far; null when it was never begun. */
  duration: number | null;
}

/** Everything that the tenant's database knows about a job. */
export interface JobDetails extends ListedJob {
  body: unknown;
  result: unknown;
  idempotencyKey: string | null;
  leaseUntil: Date | null;
  /** When somebody asked for its cancellation. */
  cancelRequestedAt: Date | null;
}

export interface JobFilter {
  state?: JobState | undefined;
  type?: string | undefined;
  /** Records made in the last so many seconds. */
  sinceSec?: number | undefined;
}

/** Records read at a time. */
const page = 500;

const listed = `job.id, job.type, job.state, job.attempt, job.deaths, job.worker, job.error, job.duplicate_of AS "duplicateOf",
  job.created_at AS "createdAt", job.started_at AS "startedAt", job.finished_at AS "finishedAt",
  (extract(epoch FROM now() - job.created_at))::float AS age,
  (extract(epoch FROM coalesce(job.finished_at, CASE WHEN job.state = 'RUNNING' THEN now() END) - job.started_at))::float AS duration`;

/** The newest jobs that pass the filter, newest first, at most `limit`. */
export async function listJobs(db: TenantDatabase, filter: JobFilter, limit: number): Promise<ListedJob[]> {
  const jobs: ListedJob[] = [];
  let after: { at: string; id: string } | undefined;
  while (jobs.length < limit) {
    const wanted = Math.min(page, limit - jobs.length);
    // As text, since a Date has no microseconds.
    const rows = await db.query<ListedJob & { at: string }>(
      `SELECT ${listed}, job.created_at::text AS at FROM jobs AS job
        WHERE ($1::text IS NULL OR job.state = $1) AND ($2::text IS NULL OR job.type = $2)
          AND ($3::float IS NULL OR job.created_at >= now() - make_interval(secs => $3))
          AND ($4::timestamptz IS NULL OR (job.created_at, job.id) < ($4, $5))
        ORDER BY job.created_at DESC, job.id DESC LIMIT $6`,
      [
        filter.state ?? null,
        filter.type ?? null,
        filter.sinceSec ?? null,
        after?.at ?? null,
        after?.id ?? null,
        wanted,
      ],
    );
    jobs.push(...rows.map(({ at: _at, ...job }) => job));
    const last = rows.at(-1);
    if (!last || rows.length < wanted) break;
    after = { at: last.at, id: last.id };
  }
  return jobs;
}

/** The job's record, or `undefined` when no worker has begun it yet. */
export async function findJob(db: TenantDatabase, id: string): Promise<JobDetails | undefined> {
  const [job] = await db.query<JobDetails>(
    `SELECT ${listed}, job.body, job.result, job.idempotency_key AS "idempotencyKey", job.lease_until AS "leaseUntil",
            asked.requested_at AS "cancelRequestedAt"
       FROM jobs AS job LEFT JOIN job_cancellations AS asked ON asked.job_id = job.id WHERE job.id = $1`,
    [id],
  );
  return job;
}
