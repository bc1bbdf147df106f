import { setTimeout as delay } from 'node:timers/promises';
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { buryMessage, delayMessage } from '../rabbitmq/settle.ts';
import { jobQueue } from '../rabbitmq/topology.ts';
import { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { Slots } from '../slots.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { leaseScope, type ScopeParts } from '../tenancy/tenant-scope.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import type { JobType } from './contracts/job-types.ts';
import type { AnyJobDefinition } from './definition.ts';
import { type JobMessage, readJobMessage } from './message.ts';
import { drainOutbox, publishNow } from './outbox.ts';
import { type Fate, failureOf, type RunOptions, runJob } from './run-job.ts';

/** Messages of one queue that this process holds at most, at work or waiting for a slot. More would only be kept from other processes. */
const prefetch = 2;

/** An acknowledgement can be lost when its channel closes right after it; a short pause lets it out. */
const acknowledgementPause = 200;

/** How long (ms) a job that was told to end has to do so. */
const endingGrace = 10_000;

export interface ConsumerParts extends ScopeParts {
  source: TenantSource;
  slots: Slots;
  definitions: readonly AnyJobDefinition[];
  run: Omit<RunOptions, 'signal'>;
  name: string;
  log: Logger;
}

interface Consuming {
  channel: Channel;
  tags: string[];
}

/** Consumes one tenant's job queues in its vhost, and works its jobs in its scope. Started once, stopped once. */
export class TenantConsumer {
  readonly tenantId: TenantId;
  readonly #parts: ConsumerParts;
  readonly #log: Logger;
  readonly #connection: VhostConnection;
  readonly #working = new Set<Promise<void>>();
  /** No new job is begun. */
  readonly #draining = new AbortController();
  /** Running jobs must end. */
  readonly #ending = new AbortController();
  readonly #stopped = new AbortController();
  #consuming: Consuming | undefined;

  constructor(tenantId: TenantId, parts: ConsumerParts) {
    this.tenantId = tenantId;
    this.#parts = parts;
    this.#log = parts.log.child({ tenantId });
    this.#connection = new VhostConnection({
      target: async () => (await parts.source.config(tenantId)).rabbitmq,
      refused: () => parts.source.forget(tenantId),
      setup: (model) => this.#consume(model),
      name: `${parts.name} ${tenantId}`,
      log: this.#log,
    });
  }

  /** Whether deliveries can come in now. */
  get consuming(): boolean {
    return this.#connection.connected && this.#consuming !== undefined;
  }

  start(): void {
    this.#connection.open();
  }

  /** Takes no new job, gives running ones `timeoutMs`, then ends them so that they go back to their queues; then disconnects. */
  async stop(timeoutMs: number): Promise<void> {
    const stopping = new MatcherError('SHUTTING_DOWN', 'The process is stopping', { remedy: 'not-now' });
    this.#draining.abort(stopping);
    const consuming = this.#consuming;
    this.#consuming = undefined;
    for (const tag of consuming?.tags ?? []) await consuming?.channel.cancel(tag).catch(() => {});
    const timer = setTimeout(() => this.#ending.abort(stopping), timeoutMs);
    const allDone = (async () => {
      while (this.#working.size > 0) await Promise.all(this.#working);
    })();
    // What does not even end when it is told to is left behind: its message is delivered again, and its commit is fenced.
    const givenUp = delay(timeoutMs + endingGrace, undefined, { signal: this.#stopped.signal }).catch(() => {});
    await Promise.race([allDone, givenUp]);
    this.#stopped.abort();
    clearTimeout(timer);
    if (this.#working.size > 0) this.#log.error({ jobs: this.#working.size }, 'jobs that do not end are left behind');
    await delay(acknowledgementPause);
    await this.#connection.close();
  }

  /** Sends what an earlier process left in the outbox of this tenant. */
  async sendLeftEvents(): Promise<void> {
    const { scope, release } = await this.#scope(undefined);
    try {
      await drainOutbox(scope.db, this.#connection, this.tenantId, this.#soon());
    } finally {
      release();
    }
  }

  async #consume(model: ChannelModel): Promise<void> {
    if (this.#draining.signal.aborted) return;
    const channel = await model.createChannel();
    channel.on('error', (error) => this.#log.warn({ reason: errorMessage(error) }, 'consumer channel failed'));
    // Without its channel a connection is alive and deaf: it starts anew as a whole.
    channel.on('close', () => {
      this.#consuming = undefined;
      if (!this.#draining.signal.aborted) void model.close().catch(() => {});
    });
    await channel.prefetch(prefetch);
    const tags: string[] = [];
    for (const definition of this.#parts.definitions) {
      const onMessage = (message: ConsumeMessage | null) => {
        if (message === null) {
          // The broker cancelled the consumer: its queue was deleted or moved.
          void channel.close().catch(() => {});
          return;
        }
        const work = this.#handle(channel, definition, message).finally(() => this.#working.delete(work));
        this.#working.add(work);
      };
      tags.push((await channel.consume(jobQueue(definition.type), onMessage)).consumerTag);
    }
    this.#consuming = { channel, tags };
    this.#log.info({ types: this.#parts.definitions.map(({ type }) => type) }, 'consuming');
  }

  /** Never throws: whatever happens to one message, the process and the other tenants go on. */
  async #handle(channel: Channel, definition: AnyJobDefinition, message: ConsumeMessage): Promise<void> {
    let release: (() => void) | undefined;
    try {
      release = await this.#parts.slots.acquire(this.#draining.signal);
      await this.#settle(channel, message, definition.type, await this.#fate(definition, message));
    } catch (error) {
      const drained = this.#draining.signal.aborted;
      if (!drained) {
        this.#log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'a delivery goes back to its queue');
        // What made it fail is the broker or the channel: a pause keeps it from spinning.
        await delay(1000, undefined, { signal: this.#draining.signal }).catch(() => {});
      }
      giveBack(channel, message);
    } finally {
      release?.();
    }
  }

  async #fate(definition: AnyJobDefinition, message: ConsumeMessage): Promise<Fate> {
    let job: JobMessage;
    try {
      job = readJobMessage(message, definition.type, this.tenantId);
    } catch (error) {
      const failure = failureOf(error);
      this.#log.warn({ code: failure.code, reason: failure.message }, 'not a job of this tenant');
      return { kind: 'dead', failure, attempt: 0 };
    }
    try {
      const { scope, release } = await this.#scope(job.id);
      try {
        const fate = await runJob(definition, job, scope, { ...this.#parts.run, signal: this.#ending.signal });
        // What it says to the world has been committed. What can't be sent soon stays in the outbox.
        await this.#sendEvents(scope.db);
        return fate;
      } finally {
        release();
      }
    } catch (error) {
      const failure = failureOf(error);
      // The tenant's database could not say what becomes of the job: it waits, and no attempt is charged.
      this.#log.warn({ jobId: job.id, code: failure.code, reason: failure.message }, 'job put off');
      return { kind: 'later', seconds: 5, failure };
    }
  }

  async #settle(channel: Channel, message: ConsumeMessage, type: JobType, fate: Fate): Promise<void> {
    if (fate.kind === 'later') {
      if (this.#draining.signal.aborted) return giveBack(channel, message);
      await delayMessage(this.#connection, message, type, fate.seconds);
    } else if (fate.kind === 'dead') {
      await buryMessage(this.#connection, message, fate.failure, fate.attempt);
    }
    channel.ack(message);
  }

  /** A limit for what must not hold a slot: sending events to a broker, or reading them from a database, that went silent. */
  #soon(): AbortSignal {
    const { POSTGRES_QUERY_TIMEOUT_SEC } = this.#parts.settings;
    return AbortSignal.any([this.#ending.signal, AbortSignal.timeout(POSTGRES_QUERY_TIMEOUT_SEC * 1000)]);
  }

  #scope(jobId: string | undefined) {
    const log = jobId === undefined ? this.#log : this.#log.child({ jobId });
    const publish = async (eventType: string, body: object) => {
      const { slug } = await this.#parts.source.config(this.tenantId);
      await publishNow(this.#connection, { tenantId: this.tenantId, slug }, { ...body, eventType, jobId: jobId ?? '' });
    };
    return leaseScope(this.#parts, this.tenantId, publish, log);
  }

  /** Events that can't leave now stay in the outbox; the next job, or the next process, sends them. */
  async #sendEvents(db: Parameters<typeof drainOutbox>[0]): Promise<void> {
    try {
      await drainOutbox(db, this.#connection, this.tenantId, this.#soon());
    } catch (error) {
      this.#log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'events stay in the outbox for now');
    }
  }
}

/** Back to its queue at once; on a channel that is gone, the broker has done it already. */
function giveBack(channel: Channel, message: ConsumeMessage): void {
  try {
    channel.nack(message, false, true);
  } catch {}
}
