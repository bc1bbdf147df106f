import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Channel, ConsumeMessage } from 'amqplib';
import { errorCode, errorMessage, MatcherError, remedyFor } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { overBroken } from '../postgres/over-broken.ts';
import { buryMessage, delayMessage } from '../rabbitmq/settle.ts';
import type { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { IdempotencyKeys } from '../redis/idempotency-keys.ts';
import { pokeSchedules } from '../schedules/poke.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { type LeasedScope, leaseScope, type ScopeParts } from '../tenancy/tenant-scope.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import type { JobType } from './contracts/job-types.ts';
import type { AnyJobDefinition } from './definition.ts';
import type { FairSlots } from './fair-slots.ts';
import { JobSlot } from './job-slot.ts';
import { type JobMessage, readJobMessage } from './message.ts';
import { drainOutbox, publishNow } from './outbox.ts';
import { OutboxSender } from './outbox-sender.ts';
import { claimBatches, endBatches } from './record.ts';
import { type Fate, failureOf, type RunOptions, runJob } from './run-job.ts';

export interface DeliveryParts extends ScopeParts {
  source: TenantSource;
  slots: FairSlots;
  /** Shares of the slots, by tenant id or slug; others have 1. */
  weights: ReadonlyMap<string, number>;
  definitions: readonly AnyJobDefinition[];
  keys: IdempotencyKeys;
  run: Pick<RunOptions, 'leaseSec' | 'keyHours' | 'maxAttempts' | 'patienceHours' | 'deadlines'> & {
    /** Names the process in the jobs' records. */
    worker: string;
  };
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
  /** How long (ms) a delivery may wait here for a slot before others get it. */
  slotPatience(): number;
  /** Called when the tenant's database has let several deliveries in a row down. */
  databaseAway(): void;
  log: Logger;
}

/** So many deliveries in a row must find the database away. */
const awayAfter = 3;

/** Works on one tenant's deliveries: each in a slot and in the tenant's scope, until it is acknowledged. */
export class DeliveryWork {
  readonly #parts: DeliveryParts;
  readonly #context: DeliveryContext;
  readonly #outbox: OutboxSender;
  readonly #batches: Pick<RunOptions, 'claims' | 'ends'>;
  /** Of the deliveries that are at work. */
  readonly #slots = new Set<JobSlot>();
  /** Jobs that this process works on. */
  readonly #jobs = new Set<string>();
  readonly #database = { silent: false, failures: 0 };
  #weight: number;

  constructor(parts: DeliveryParts, context: DeliveryContext) {
    this.#parts = parts;
    this.#context = context;
    // Of its own, also among those of this process and of one that had its number before.
    const worker = `${parts.run.worker}.${randomBytes(3).toString('hex')}`;
    this.#batches = { claims: claimBatches(parts.run.leaseSec, worker), ends: endBatches() };
    this.#weight = parts.weights.get(context.tenantId) ?? 1;
    this.#outbox = new OutboxSender({
      drain: () => this.#drain(),
      // Where there is much to do, much is sent at a time.
      pauseMs: () => (parts.slots.used > parts.slots.total / 2 ? 250 : 0),
      ending: context.ending,
      log: context.log,
    });
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
    const { connection, draining, log } = this.#context;
    let outcome = 'returned';
    let exchanged = false;
    // The broker allows a delivery half an hour. A copy that comes back whenever a lease could have ended takes the job up again if its process died.
    const long = async () => {
      await delayMessage(connection, message, type, { seconds: this.#parts.run.leaseSec });
      exchanged = true;
      channel.ack(message);
    };
    try {
      const fate = await this.#fate(type, message, long);
      outcome = outcomeOf(fate);
      // The copy that goes round finds out, unless the database could not be told: then another one says that nobody works on the job any more.
      if (exchanged && (fate.kind !== 'later' || fate.heldFence === undefined)) return;
      if (fate.kind === 'later') await delayMessage(connection, message, type, fate);
      else if (fate.kind === 'dead') await buryMessage(connection, message, fate.failure, fate.attempt);
      if (!exchanged) channel.ack(message);
    } catch (error) {
      outcome = 'returned';
      if (!draining.aborted) {
        log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'a delivery goes back to its queue');
        // What made it fail is the broker or the channel: a pause keeps it from spinning.
        await delay(1000, undefined, { signal: draining }).catch(() => {});
      }
      if (!exchanged) giveBack(channel, message);
    } finally {
      this.#parts.metrics?.messagesProcessed.inc({ type, outcome });
    }
  }

  /** Sends what is in the outbox of this tenant, whoever has left it there. */
  sendEvents(): void {
    this.#outbox.poke();
  }

  /** Ends when no event is being sent. */
  async eventsSent(): Promise<void> {
    await this.#outbox.idle();
  }

  /** @throws as long as the tenant's database is away. */
  async probeDatabase(): Promise<void> {
    const { scope, release } = await this.#scope(undefined);
    try {
      await scope.db.query('SELECT 1');
      this.#database.silent = false;
      this.#database.failures = 0;
    } finally {
      release();
    }
  }

  async #fate(type: JobType, message: ConsumeMessage, long: () => Promise<void>): Promise<Fate> {
    const { tenantId, draining, log, slotPatience } = this.#context;
    let job: JobMessage;
    try {
      job = readJobMessage(message, type, tenantId);
    } catch (error) {
      const failure = failureOf(error);
      log.warn({ code: failure.code, reason: failure.message }, 'not a job of this tenant');
      return { kind: 'dead', failure, attempt: 0 };
    }
    if (this.#jobs.has(job.id)) return { kind: 'later', seconds: this.#parts.run.leaseSec, attempt: 0 };
    const slot = new JobSlot(this.#parts.slots, { tenantId, weight: this.#weight }, this.#database);
    this.#slots.add(slot);
    this.#jobs.add(job.id);
    try {
      const asked = performance.now();
      await slot.reserve(draining, slotPatience());
      this.#parts.metrics?.slotWait.observe((performance.now() - asked) / 1000);
      this.#parts.metrics?.slotsUsed.set(this.#parts.slots.used);
      return await this.#work(type, job, slot, long);
    } catch (error) {
      // The job was not even begun, or the tenant's database could not say what becomes of it: it waits, and no attempt is charged.
      const failure = failureOf(error);
      if (isAway(error)) this.#letDown();
      log[draining.aborted ? 'debug' : 'warn'](
        { jobId: job.id, code: failure.code, reason: failure.message },
        'job put off',
      );
      const seconds = failure.code === 'SLOTS_BUSY' || draining.aborted ? 1 : 5;
      return { kind: 'later', seconds, attempt: 0 };
    } finally {
      // What is still to be said to the broker is no work, and can take long.
      slot.give();
      this.#parts.metrics?.slotsUsed.set(this.#parts.slots.used);
      this.#slots.delete(slot);
      this.#jobs.delete(job.id);
    }
  }

  async #work(type: JobType, job: JobMessage, slot: JobSlot, long: () => Promise<void>): Promise<Fate> {
    const { tenantId, draining, ending } = this.#context;
    const { pools, run, keys } = this.#parts;
    const definition = this.#parts.definitions.find((one) => one.type === type) as AnyJobDefinition;
    // Whoever waits for a place among the pools waits for others; whoever has one, for its own database.
    const opening = () => pools.tenants().includes(tenantId);
    const { scope, release } = await slot.giveWhileSilent(this.#scope(job.id), opening);
    try {
      const { idempotencyKey } = job;
      const key = idempotencyKey === null ? undefined : { type, idempotencyKey };
      const keyHolder = async () => key && (await keys.holder(scope.redis, key));
      const options = { ...run, ...this.#batches, keyHolder, slot, draining, ending, long };
      const fate = await runJob(definition, job, scope, options);
      if (key && fate.kind === 'settled' && fate.outcome === 'done') void keys.remember(scope.redis, key, job.id);
      if (fate.kind === 'later' && fate.heldFence !== undefined) this.#letDown();
      else this.#database.failures = 0;
      // What it says to the world has been committed.
      if (fate.kind !== 'later') this.#outbox.poke();
      if (fate.kind === 'settled' && type === 'context.apply') this.#pokeSchedules();
      return fate;
    } finally {
      release();
    }
  }

  /** A context's schedule may be another one now. */
  #pokeSchedules(): void {
    const { redis, settings } = this.#parts;
    pokeSchedules(redis, settings, this.#context.tenantId).catch((error) =>
      this.#context.log.debug({ reason: errorMessage(error) }, 'the schedulers could not be told'),
    );
  }

  #letDown(): void {
    if (++this.#database.failures === awayAfter) this.#context.databaseAway();
  }

  async #drain(): Promise<void> {
    const { connection, tenantId, ending } = this.#context;
    const { POSTGRES_QUERY_TIMEOUT_SEC } = this.#parts.settings;
    const soon = AbortSignal.any([ending, AbortSignal.timeout(POSTGRES_QUERY_TIMEOUT_SEC * 1000)]);
    const { scope, release } = await this.#scope(undefined);
    try {
      await overBroken.execute(() => drainOutbox(scope.db, connection, tenantId, soon));
    } finally {
      release();
    }
  }

  async #scope(jobId: string | undefined): Promise<LeasedScope> {
    const { tenantId, connection } = this.#context;
    const log = jobId === undefined ? this.#context.log : this.#context.log.child({ jobId });
    let slug = '';
    const publish = (eventType: string, body: object) =>
      publishNow(connection, { tenantId, slug }, { ...body, eventType, jobId: jobId ?? '' });
    const leased = await leaseScope(this.#parts, tenantId, publish, log);
    slug = leased.scope.slug;
    const { weights } = this.#parts;
    this.#weight = weights.get(tenantId) ?? weights.get(slug) ?? 1;
    return leased;
  }
}

/** Whether it is the tenant's database that was away, and not a place among the pools or the process that ends. */
function isAway(error: unknown): boolean {
  if (error instanceof MatcherError) return error.code === 'DATABASE_UNAVAILABLE';
  return remedyFor(error) === 'not-now';
}

/** What has become of a delivery, as the metrics call it. */
function outcomeOf(fate: Fate): string {
  if (fate.kind === 'settled') return fate.outcome;
  if (fate.kind === 'later') return 'later';
  // A job that was tried and failed for good, as against what never became one.
  return fate.attempt > 0 ? 'failed' : 'dead';
}

/** Back to its queue at once; on a channel that is gone, the broker has done it already. */
function giveBack(channel: Channel, message: ConsumeMessage): void {
  try {
    channel.nack(message, false, true);
  } catch {}
}
