import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, errorMessage, MatcherError, remedyFor } from '@matcher/shared/errors.ts';
import { jobProperties } from '@matcher/shared/jobs/message.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { publishConfirmed } from '@matcher/shared/rabbitmq/publish.ts';
import { readyMessages } from '@matcher/shared/rabbitmq/ready-messages.ts';
import { delayExchange, delays, jobQueue, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { latestFiring, type Schedule } from '@matcher/shared/schedules/cron.ts';
import { firingOf, scheduledJobId, scheduledJobPrefix } from '@matcher/shared/schedules/scheduled-job.ts';
import { forbidsServing } from '@matcher/shared/tenancy/manager-refusals.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { Job } from 'bullmq';
import type { Due } from './bull.ts';
import type { FiringQueue } from './firing-queue.ts';
import type { SchedulerMetrics } from './metrics.ts';
import { syncSchedules } from './sync.ts';
import { TenantPauses } from './tenant-pauses.ts';
import type { Visit, Visits } from './visit.ts';

/**
 * What became of a firing.
 *
 * - `published`: its job is in the tenant's vhost.
 * - `skipped`: an earlier scheduled run of the context still waits or runs; it will see what this one would have seen.
 * - `superseded`: it could not be published before a later one was due.
 * - `outdated`: the context has another schedule by now, or none.
 * - `inactive`: the tenant is not served.
 * - `given-up`: it could not be published for as long as jobs are put off.
 */
export type Outcome = 'published' | 'skipped' | 'superseded' | 'outdated' | 'inactive' | 'given-up';

export interface FiringParts {
  source: TenantSource;
  visits: Visits;
  queue: FiringQueue;
  settings: Settings;
  log: Logger;
  metrics: SchedulerMetrics;
}

/** A message that no worker has begun for so long (ms) may have been lost: the next one is published. */
const believedToWait = 24 * 3_600_000;
/** How long (ms) the look and the publishing may take together. */
const longestVisit = 60_000;
/** How long (ms) a broker may take to count what waits. */
const countTimeout = 5000;
const type = 'matching.run';

export class Firings {
  readonly #parts: FiringParts;
  readonly #pauses = new TenantPauses();

  constructor(parts: FiringParts) {
    this.#parts = parts;
  }

  /**
   * Publishes the run of a context whose time has come.
   *
   * @throws whatever keeps it from being published now: it is to be tried again.
   */
  async fire(due: Job<Due>, signal: AbortSignal): Promise<Outcome> {
    const { log, metrics } = this.#parts;
    const tenantId = canonicalTenantId(due.data.tenantId);
    const { context = '' } = due.data;
    try {
      this.#pauses.check(tenantId);
      const outcome = await this.#fire(due, tenantId, context, signal);
      this.#pauses.end(tenantId);
      metrics.firings.inc({ outcome });
      return outcome;
    } catch (error) {
      const { code, message: reason } = { code: errorCode(error), message: errorMessage(error) };
      if (code !== 'TENANT_PAUSED') {
        if (remedyFor(error) === 'not-now') this.#pauses.begin(tenantId);
        metrics.firings.inc({ outcome: 'failed' });
        log.warn({ tenantId, context, code, reason }, 'a scheduled run cannot be published for now');
      }
      throw error;
    }
  }

  async #fire(due: Job<Due>, tenantId: TenantId, context: string, signal: AbortSignal): Promise<Outcome> {
    const { source, visits, queue, settings, log, metrics } = this.#parts;
    const schedule: Schedule = { cron: due.opts.repeat?.pattern ?? '', timezone: due.opts.repeat?.tz ?? 'UTC' };
    const latest = latestFiring(schedule, new Date());
    const own = new Date(due.data.firing ?? due.opts.prevMillis ?? latest.getTime());
    const at = await firingTime(due, own, latest);
    const jobId = scheduledJobId(context, at);
    const line = log.child({ tenantId, context, jobId });
    if (at > own) line.warn({ missedSince: own.toISOString() }, 'a scheduled run makes up for those that were missed');
    // It has failed before, and meanwhile another one has its turn, which does what this one would do.
    if (due.attemptsMade > 0 && latest > at) {
      line.warn('a scheduled run was not published before the next one was due');
      return 'superseded';
    }
    if (Date.now() - at.getTime() > settings.JOB_PATIENCE_HOURS * 3_600_000 && due.attemptsMade > 0) {
      line.error('a scheduled run was given up: it could not be published for too long');
      return 'given-up';
    }
    try {
      await source.config(tenantId);
    } catch (error) {
      if (!forbidsServing(error)) throw error;
      line.info('a scheduled run of a tenant that is not served');
      return 'inactive';
    }
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(longestVisit)]);
    return await visits.visit(tenantId, async (visit) => {
      const outcome = await visit.db.transaction(async (tx): Promise<Outcome> => {
        // Two firings of a context at the same time, as after the death of a scheduler, must see each other.
        await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended('firing of ' || current_schema() || $1, 0))`, [
          context,
        ]);
        const found = await lookAt(tx, context, jobId);
        if (found?.cron !== schedule.cron || found.timezone !== schedule.timezone) return 'outdated';
        const last = await queue.lastPublished(tenantId, context);
        // By a scheduler that died, or in place of an earlier one that was missed.
        if (found.begun || last === jobId) return 'published';
        const waiting = found.unfinished ?? (await inQueue(visit, tx, last));
        if (waiting !== undefined) {
          line.info({ waiting }, 'a scheduled run was skipped: an earlier one waits or runs');
          return 'skipped';
        }
        inTime.throwIfAborted();
        await publishConfirmed(visit.vhost, {
          exchange: jobsExchange,
          routingKey: type,
          content: Buffer.from(JSON.stringify({ version: 1, context, mode: 'COMMIT' })),
          properties: { ...jobProperties(jobId, type, tenantId), mandatory: true },
        });
        metrics.firingLag.observe(Math.max(0, Date.now() - at.getTime()) / 1000);
        line.info('published a scheduled run');
        await queue.rememberPublished(tenantId, context, jobId);
        return 'published';
      }, inTime);
      if (outcome === 'outdated') {
        line.info('a scheduled run of a context that has another schedule by now');
        await syncSchedules(tenantId, visit.db, queue, log, inTime);
      }
      return outcome;
    });
  }
}

/** The run that was published last, when no worker has begun it and the tenant's queues are not empty: it is in there. */
async function inQueue({ vhost }: Visit, tx: Transaction, last: string | null): Promise<string | undefined> {
  const at = last === null ? undefined : firingOf(last);
  if (last === null || !at || Date.now() - at.getTime() > believedToWait) return undefined;
  const [row] = await tx.query<{ known: boolean }>('SELECT true AS known FROM jobs WHERE id = $1', [last]);
  if (row) return undefined;
  await vhost.publishChannel();
  const model = vhost.link?.model;
  if (!model) throw new MatcherError('BROKER_UNAVAILABLE', 'The vhost was left', { remedy: 'not-now' });
  const counts = await readyMessages(model, [jobQueue(type), ...delays.map(delayExchange)], countTimeout);
  return counts.some((count) => count > 0) ? last : undefined;
}

/**
 * The time that a firing stands for. Whoever takes it first decides that: its own time, or, when nobody was there for a while, the latest one that was
 * missed. (Only then does BullMQ put the next one into its place, so that it is known who is first.)
 */
async function firingTime(due: Job<Due>, own: Date, latest: Date): Promise<Date> {
  if (due.nextRepeatableJobId !== undefined || latest <= own) return own;
  await due.updateData({ ...due.data, firing: latest.getTime() });
  return latest;
}

interface Found {
  cron: string | null;
  timezone: string | null;
  /** An earlier scheduled run of the context that has not come to its end. */
  unfinished?: string;
  /** Whether a worker has this very run already. */
  begun: boolean;
}

async function lookAt(tx: Transaction, context: string, jobId: string): Promise<Found | undefined> {
  const [row] = await tx.query<Omit<Found, 'unfinished'> & { unfinished: string | null }>(
    `SELECT definition #>> '{schedule,cron}' AS cron, definition #>> '{schedule,timezone}' AS timezone,
            (SELECT id FROM jobs WHERE state IN ('RUNNING', 'WAITING') AND starts_with(id, $2) AND id <> $3 LIMIT 1) AS unfinished,
            EXISTS (SELECT FROM jobs WHERE id = $3) AS begun
       FROM contexts WHERE name = $1 AND status = 'ACTIVE'`,
    [context, scheduledJobPrefix(context), jobId],
  );
  if (!row) return undefined;
  const { unfinished, ...rest } = row;
  return unfinished === null ? rest : { ...rest, unfinished };
}
