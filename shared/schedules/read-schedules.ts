import type { QueryResultRow } from 'pg';
import type { Schedule } from './cron.ts';

/** A tenant's database, or a transaction in it. */
interface Queryable {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
}

export interface ContextSchedule extends Schedule {
  readonly context: string;
}

/** The schedules that fire: those of active contexts. */
export async function readSchedules(db: Queryable): Promise<ContextSchedule[]> {
  return await db.query<ContextSchedule>(
    `SELECT name AS context, definition #>> '{schedule,cron}' AS cron, definition #>> '{schedule,timezone}' AS timezone
       FROM contexts WHERE status = 'ACTIVE' AND definition ? 'schedule' ORDER BY name`,
  );
}

/** A schedule, and what came of it. */
export interface ListedSchedule extends ContextSchedule {
  /** Whether it fires: its context is active. */
  readonly active: boolean;
  /** The last of its runs that a worker has begun. */
  readonly last: { readonly jobId: string; readonly state: string } | null;
}

/** All schedules of a tenant, by context. */
export async function listSchedules(db: Queryable): Promise<ListedSchedule[]> {
  return await db.query<ListedSchedule>(
    `SELECT name AS context, definition #>> '{schedule,cron}' AS cron, definition #>> '{schedule,timezone}' AS timezone,
            status = 'ACTIVE' AS active, run.last
       FROM contexts LEFT JOIN LATERAL (
            SELECT jsonb_build_object('jobId', id, 'state', state) AS last FROM jobs
             WHERE starts_with(id, 'schedule:' || name || ':') ORDER BY created_at DESC LIMIT 1) AS run ON true
      WHERE definition ? 'schedule' ORDER BY name`,
  );
}
