import { splitAddress } from '@matcher/shared/config/kinds.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorMessage } from '@matcher/shared/errors.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { nextFiring } from '@matcher/shared/schedules/cron.ts';
import { schedulerKeys } from '@matcher/shared/schedules/poke.ts';
import { type JobsOptions, Queue, type RedisOptions, Worker, type WorkerOptions } from 'bullmq';

/**
 * BullMQ knows when which tenant and context is due, and gives each due one to one of the processes. It holds their names and the times, and nothing of what
 * they mean. It brings a Redis driver of its own, so it makes its own connections.
 */

/** What stands in BullMQ's records. */
export interface Due {
  tenantId: string;
  /** The context, of a firing. */
  context?: string;
  /** When the firing was for which this one makes up (ms since 1970), once that is decided. */
  firing?: number;
}

/** A process that was killed is believed dead after this time (ms); then another one takes over what it had begun. */
const lockDuration = 15_000;
const stalledInterval = 5000;

/** Pause (ms) before a firing is tried again: it grows up to a minute. */
const firstPause = 1000;
const longestPause = 60_000;

/** What is done, or given up, is remembered in the log and the metrics only. */
const forgotten: JobsOptions = { removeOnComplete: true, removeOnFail: true };

/** A firing is tried until a later one takes its place, or the scheduler gives it up. */
export const firingOptions: JobsOptions = { ...forgotten, attempts: 1_000_000, backoff: { type: 'growing' } };

/** The next maintenance comes anyway. */
export const maintenanceOptions: JobsOptions = { ...forgotten, attempts: 1 };

const strategies: NonNullable<WorkerOptions['settings']> = {
  repeatStrategy: (millis, { pattern = '', tz = 'UTC' }) =>
    nextFiring({ cron: pattern, timezone: tz }, new Date(millis)).getTime(),
  backoffStrategy: (attempts) =>
    Math.min(firstPause * 2 ** Math.min(attempts - 1, 10), longestPause) * (0.8 + Math.random() * 0.2),
};

/** What is put into a queue fails soon when Redis is away: whoever does it has something open. */
export function openQueue(name: string, settings: Settings, log: Logger): Queue<Due> {
  const queue = new Queue<Due>(name, {
    connection: { ...connection(settings), maxRetriesPerRequest: 1, enableOfflineQueue: false, commandTimeout: 5000 },
    prefix: schedulerKeys(settings).prefix,
    settings: strategies,
    streams: { events: { maxLen: 100 } },
  });
  queue.on('error', (error) =>
    log.warn({ queue: name, reason: errorMessage(error) }, 'BullMQ: Redis is not reachable'),
  );
  return queue;
}

/**
 * Works on what is due, from now on.
 *
 * @param concurrency how many at the same time in this process.
 */
export function workQueue(
  name: string,
  work: ConstructorParameters<typeof Worker<Due>>[1] & object,
  concurrency: number,
  settings: Settings,
  log: Logger,
): Worker<Due> {
  const worker = new Worker<Due>(name, work, {
    // A due one is waited for at most 10 s at a time: more silence than that is a dead connection.
    connection: { ...connection(settings), maxRetriesPerRequest: null, socketTimeout: 20_000 },
    prefix: schedulerKeys(settings).prefix,
    settings: strategies,
    concurrency,
    lockDuration,
    stalledInterval,
    runRetryDelay: 1000,
  });
  worker.on('error', (error) =>
    log.warn({ queue: name, reason: errorMessage(error) }, 'BullMQ: a queue is not worked on'),
  );
  worker.on('stalled', (id) => log.warn({ queue: name, id }, 'what another process had begun is taken over'));
  return worker;
}

function connection(settings: Settings): RedisOptions {
  const { host, port } = splitAddress(settings.REDIS_HOST ?? '');
  return {
    host,
    port,
    db: settings.REDIS_DB,
    ...(settings.REDIS_PASSWORD ? { password: settings.REDIS_PASSWORD } : {}),
    ...(settings.REDIS_TLS ? { tls: {} } : {}),
    connectTimeout: 5000,
    retryStrategy: (attempt) => Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random() / 2),
  };
}
