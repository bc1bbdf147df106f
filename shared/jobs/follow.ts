import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { LRUCache } from 'lru-cache';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { eventsExchange } from '../rabbitmq/topology.ts';
import { type TenantId, tryCanonicalTenantId } from '../tenancy/tenant-id.ts';
import {
  cancelledEvent,
  completionEvents,
  duplicateEvent,
  type Failure,
  failure,
  type Progress,
  progress,
  progressEvent,
} from './contracts/events.ts';
import type { JobType } from './contracts/job-types.ts';
import type { JobResult } from './contracts/results.ts';
import { tenantHeader } from './message.ts';
import type { JobRow } from './record.ts';

/** How a job ended. */
export type JobEnd<T extends JobType = JobType> = (
  | { state: 'SUCCEEDED'; result: JobResult<T> }
  | { state: 'FAILED'; error: Failure }
  | { state: 'CANCELLED' }
) & {
  /** The job of the same idempotency key that was done in its place, and whose end this is. */
  duplicateOf?: string;
};

/** What can be told of a job that goes on no more: a duplicate's end is that of the job it repeats. */
type Outcome = JobEnd | { state: 'DUPLICATE'; original: string };

export interface FollowOptions {
  /** Called with every progress event that is heard. */
  onProgress?(progress: Progress): void;
  /** Ends the waiting, not the job: the promise is rejected with its reason. */
  signal?: AbortSignal;
}

/** Ends that are kept for whoever asks after them later: a job can be done before its publisher has begun to follow it. */
const rememberedEnds = 1000;

/** Events that the broker keeps for a listener that doesn't keep up. The oldest are dropped then; the record tells. */
const waitingEvents = 10_000;

/** A job that ends as most do, at once, is known by its event before anybody connects to a database. */
const firstLook = 1000;
const lookInterval = 2000;

interface Watcher {
  onProgress: ((progress: Progress) => void) | undefined;
  onEnd(outcome: Outcome): void;
}

const completed = new Set<string>(Object.values(completionEvents).map((names) => names.completed));
const failed = new Set<string>(Object.values(completionEvents).map((names) => names.failed));

/**
 * Waits for the ends of one tenant's jobs. An event says it at once; since events can be missed (the connection was lost,
 * nobody listened yet), the job's record is looked at as well.
 */
export class JobFollower {
  readonly #tenantId: TenantId;
  readonly #read: (jobId: string) => Promise<JobRow | undefined>;
  readonly #log: Logger;
  readonly #ends = new LRUCache<string, Outcome>({ max: rememberedEnds });
  readonly #watchers = new Map<string, Set<Watcher>>();

  constructor(tenantId: TenantId, read: (jobId: string) => Promise<JobRow | undefined>, log: Logger) {
    this.#tenantId = tenantId;
    this.#read = read;
    this.#log = log;
  }

  /** Hears the tenant's events on this connection, through a queue that goes when the connection does. */
  async listen(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel();
    channel.on('error', (error) => this.#log.warn({ reason: errorMessage(error) }, 'event channel failed'));
    // Deaf is as bad as disconnected; the connection comes back with a new queue.
    channel.on('close', () => void model.close().catch(() => {}));
    const { queue } = await channel.assertQueue('', {
      exclusive: true,
      autoDelete: true,
      durable: false,
      maxLength: waitingEvents,
    });
    await channel.bindQueue(queue, eventsExchange, '#');
    await channel.consume(queue, (message) => this.#hear(channel, message), { exclusive: true, noAck: true });
  }

  /** @throws the signal's reason when it is aborted first. */
  async follow(jobId: string, options: FollowOptions = {}): Promise<JobEnd> {
    const outcome = await this.#outcome(jobId, options);
    if (outcome.state !== 'DUPLICATE') return outcome;
    return { ...(await this.follow(outcome.original, options)), duplicateOf: outcome.original };
  }

  async #outcome(jobId: string, { onProgress, signal }: FollowOptions): Promise<Outcome> {
    signal?.throwIfAborted();
    const known = this.#ends.get(jobId);
    if (known) return known;
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    const watcher: Watcher = { onProgress, onEnd: resolve };
    const watchers = this.#watchers.get(jobId) ?? new Set();
    this.#watchers.set(jobId, watchers.add(watcher));
    const abort = () => reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const stopLooking = this.#keepLooking(jobId, resolve);
    try {
      return await promise;
    } finally {
      stopLooking();
      signal?.removeEventListener('abort', abort);
      watchers.delete(watcher);
      if (watchers.size === 0) this.#watchers.delete(jobId);
    }
  }

  #hear(channel: { close(): Promise<void> }, message: ConsumeMessage | null): void {
    if (message === null) {
      // The broker cancelled the consumer.
      void channel.close().catch(() => {});
      return;
    }
    if (tryCanonicalTenantId(message.properties.headers?.[tenantHeader]) !== this.#tenantId) {
      this.#log.warn('an event of another tenant was ignored');
      return;
    }
    let event: Record<string, unknown>;
    try {
      event = JSON.parse(message.content.toString('utf8'));
    } catch {
      this.#log.warn('an event that is not JSON was ignored');
      return;
    }
    const { eventType, jobId } = event;
    if (typeof eventType !== 'string' || typeof jobId !== 'string') return;
    if (eventType === progressEvent) {
      const said = progress.safeParse(event.progress).data;
      if (said) for (const watcher of this.#watchers.get(jobId) ?? []) watcher.onProgress?.(said);
      return;
    }
    const end = endFrom(eventType, event);
    if (!end) return;
    this.#ends.set(jobId, end);
    for (const watcher of this.#watchers.get(jobId) ?? []) watcher.onEnd(end);
  }

  /** @returns a function that ends it. */
  #keepLooking(jobId: string, found: (outcome: Outcome) => void): () => void {
    let timer: NodeJS.Timeout;
    let stopped = false;
    const look = async () => {
      try {
        const row = await this.#read(jobId);
        const outcome = row && outcomeOf(row);
        if (outcome) this.#ends.set(jobId, outcome);
        if (outcome) found(outcome);
      } catch (error) {
        // Whoever can't reach the database has the events.
        this.#log.debug({ jobId, reason: errorMessage(error) }, 'the job’s record cannot be read');
      }
      if (!stopped) timer = setTimeout(look, lookInterval);
    };
    timer = setTimeout(look, firstLook);
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }
}

function endFrom(eventType: string, event: Record<string, unknown>): Outcome | undefined {
  if (completed.has(eventType)) return { state: 'SUCCEEDED', result: event.result as JobResult<JobType> };
  if (eventType === cancelledEvent) return { state: 'CANCELLED' };
  const { duplicateOf } = event;
  if (eventType === duplicateEvent && typeof duplicateOf === 'string')
    return { state: 'DUPLICATE', original: duplicateOf };
  if (!failed.has(eventType)) return undefined;
  return { state: 'FAILED', error: failure.safeParse(event.error).data ?? unknownFailure };
}

/** The end that the record tells, or `undefined` while the job goes on. */
function outcomeOf({ state, result, error, duplicate_of: original }: JobRow): Outcome | undefined {
  if (state === 'SUCCEEDED') return { state, result: result as JobResult<JobType> };
  if (state === 'FAILED') return { state, error: error ?? unknownFailure };
  if (state === 'CANCELLED') return { state };
  if (state === 'DUPLICATE' && original !== null) return { state, original };
  return undefined;
}

const unknownFailure: Failure = { code: 'INTERNAL', message: 'The job failed without saying why', hint: null };
