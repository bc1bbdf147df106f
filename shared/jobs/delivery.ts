import { setTimeout as delay } from 'node:timers/promises';
import type { Channel, ConsumeMessage } from 'amqplib';
import { errorCode, errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { overBroken } from '../postgres/over-broken.ts';
import type { TenantDatabase } from '../postgres/tenant-database.ts';
import { buryMessage, delayMessage } from '../rabbitmq/settle.ts';
import type { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { Slots } from '../slots.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { leaseScope, type ScopeParts } from '../tenancy/tenant-scope.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import type { JobType } from './contracts/job-types.ts';
import type { AnyJobDefinition } from './definition.ts';
import { JobSlot } from './job-slot.ts';
import { type JobMessage, readJobMessage } from './message.ts';
import { drainOutbox, publishNow } from './outbox.ts';
import { type Fate, failureOf, type RunOptions, runJob } from './run-job.ts';

export interface DeliveryParts extends ScopeParts {
  source: TenantSource;
  slots: Slots;
  definitions: readonly AnyJobDefinition[];
  run: Pick<RunOptions, 'leaseSec' | 'maxAttempts' | 'worker'>;
  metrics?: Metrics | undefined;
}

/** Whose deliveries they are, and what they are worked with. */
export interface DeliveryContext {
  tenantId: TenantId;
  connection: VhostConnection;
  /** No new job is begun. */
  draining: AbortSignal;
  /** Running jobs must end. */
  ending: AbortSignal;
  log: Logger;
}

/** Works on one tenant's deliveries: each in a slot and in the tenant's scope, until it is acknowledged. */
export class DeliveryWork {
  readonly #parts: DeliveryParts;
  readonly #context: DeliveryContext;
  /** Of the deliveries that are at work. */
  readonly #slots = new Set<JobSlot>();
  readonly #database = { silent: false };

  constructor(parts: DeliveryParts, context: DeliveryContext) {
    this.#parts = parts;
    this.#context = context;
  }

  /** Jobs that have a slot now. */
  get running(): number {
    return [...this.#slots].filter(({ held }) => held).length;
  }

  /** Whether the tenant's database does not answer, so that its deliveries wait for it. */
  get waitsForDatabase(): boolean {
    return this.#database.silent;
  }

  /** Never rejects: whatever happens to one message, the process and the other tenants go on. */
  async handle(channel: Channel, type: JobType, message: ConsumeMessage): Promise<void> {
    const { draining, log } = this.#context;
    const slot = new JobSlot(this.#parts.slots, this.#database);
    this.#slots.add(slot);
    let outcome = 'returned';
    try {
      await slot.reserve(draining);
      const fate = await this.#fate(type, message, slot);
      // What is still to be said to the broker is no work, and can take long.
      slot.give();
      outcome = await this.#settle(channel, message, type, fate);
    } catch (error) {
      slot.give();
      if (!draining.aborted) {
        log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'a delivery goes back to its queue');
        // What made it fail is the broker or the channel: a pause keeps it from spinning.
        await delay(1000, undefined, { signal: draining }).catch(() => {});
      }
      giveBack(channel, message);
    } finally {
      this.#slots.delete(slot);
      this.#parts.metrics?.messagesProcessed.inc({ type, outcome });
    }
  }

  /** Sends what an earlier process left in the outbox of this tenant. */
  async sendLeftEvents(): Promise<void> {
    const { scope, release } = await this.#scope(undefined);
    try {
      await this.#drain(scope.db);
    } finally {
      release();
    }
  }

  async #fate(type: JobType, message: ConsumeMessage, slot: JobSlot): Promise<Fate> {
    const { tenantId, draining, ending, log } = this.#context;
    const { pools, run } = this.#parts;
    const definition = this.#parts.definitions.find((one) => one.type === type) as AnyJobDefinition;
    let job: JobMessage;
    try {
      job = readJobMessage(message, type, tenantId);
    } catch (error) {
      const failure = failureOf(error);
      log.warn({ code: failure.code, reason: failure.message }, 'not a job of this tenant');
      return { kind: 'dead', failure, attempt: 0 };
    }
    try {
      // Whoever waits for a place among the pools waits for others; whoever has one, for its own database.
      const opening = () => pools.tenants().includes(tenantId);
      const { scope, release } = await slot.giveWhileSilent(this.#scope(job.id), opening);
      try {
        const fate = await runJob(definition, job, scope, { ...run, slot, draining, signal: ending });
        // What it says to the world has been committed. What can't be sent soon stays in the outbox.
        await this.#sendEvents(scope.db);
        return fate;
      } finally {
        release();
      }
    } catch (error) {
      const failure = failureOf(error);
      // The tenant's database could not say what becomes of the job: it waits, and no attempt is charged.
      log.warn({ jobId: job.id, code: failure.code, reason: failure.message }, 'job put off');
      return { kind: 'later', seconds: 5, failure };
    }
  }

  /** @returns what has become of it, as the metrics call it. */
  async #settle(channel: Channel, message: ConsumeMessage, type: JobType, fate: Fate): Promise<string> {
    const { connection, draining } = this.#context;
    if (fate.kind === 'later') {
      if (draining.aborted) {
        giveBack(channel, message);
        return 'returned';
      }
      await delayMessage(connection, message, type, fate.seconds);
    } else if (fate.kind === 'dead') {
      await buryMessage(connection, message, fate.failure, fate.attempt);
    }
    channel.ack(message);
    if (fate.kind === 'settled') return 'done';
    if (fate.kind === 'later') return 'later';
    // A job that was tried and failed for good, as against what never became one.
    return fate.attempt > 0 ? 'failed' : 'dead';
  }

  async #drain(db: TenantDatabase): Promise<void> {
    const { connection, tenantId } = this.#context;
    const soon = this.#soon();
    await overBroken.execute(() => drainOutbox(db, connection, tenantId, soon));
  }

  /** A limit for what must not hold a slot: sending events to a broker, or reading them from a database, that went silent. */
  #soon(): AbortSignal {
    const { POSTGRES_QUERY_TIMEOUT_SEC } = this.#parts.settings;
    return AbortSignal.any([this.#context.ending, AbortSignal.timeout(POSTGRES_QUERY_TIMEOUT_SEC * 1000)]);
  }

  #scope(jobId: string | undefined) {
    const { tenantId, connection } = this.#context;
    const log = jobId === undefined ? this.#context.log : this.#context.log.child({ jobId });
    const publish = async (eventType: string, body: object) => {
      const { slug } = await this.#parts.source.config(tenantId);
      await publishNow(connection, { tenantId, slug }, { ...body, eventType, jobId: jobId ?? '' });
    };
    return leaseScope(this.#parts, tenantId, publish, log);
  }

  /** Events that can't leave now stay in the outbox; the next job, or the next process, sends them. */
  async #sendEvents(db: TenantDatabase): Promise<void> {
    try {
      await this.#drain(db);
    } catch (error) {
      this.#context.log.warn(
        { code: errorCode(error), reason: errorMessage(error) },
        'events stay in the outbox for now',
      );
    }
  }
}

/** Back to its queue at once; on a channel that is gone, the broker has done it already. */
function giveBack(channel: Channel, message: ConsumeMessage): void {
  try {
    channel.nack(message, false, true);
  } catch {}
}
