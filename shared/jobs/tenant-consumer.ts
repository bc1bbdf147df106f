import { setTimeout as delay } from 'node:timers/promises';
import type { Channel, ChannelModel } from 'amqplib';
import { errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { BrokerAnswers } from '../rabbitmq/broker-answers.ts';
import type { ConnectTurns } from '../rabbitmq/connect-turns.ts';
import { closeConnection, settledWithin } from '../rabbitmq/connect-vhost.ts';
import { readyMessages } from '../rabbitmq/ready-messages.ts';
import { jobQueue } from '../rabbitmq/topology.ts';
import { acknowledgementPause, VhostConnection } from '../rabbitmq/vhost-connection.ts';
import { forbidsServing } from '../tenancy/manager-refusals.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { JobType } from './contracts/job-types.ts';
import { DeafnessWatch, type Remedy } from './deafness.ts';
import { type DeliveryParts, DeliveryWork } from './delivery.ts';
import { Subscription, type SubscriptionOptions } from './subscription.ts';

/** How long (ms) a job that was told to end has to do so. */
const endingGrace = 10_000;

/** How long (ms) the broker may take to say how much waits in the queues. */
const lookTimeout = 10_000;

/** How long (ms) committed events may take to leave when the consumer stops; the next process sends what is left. */
const eventsGrace = 5000;

/** How long (ms) a delivery waits for a slot when there are other processes that may have one, and when there are none. */
const slotPatience = { among: 5000, alone: 300_000 };

const firstProbe = 500;
const longestProbe = 5000;

export interface ConsumerParts extends DeliveryParts {
  turns: ConnectTurns;
  answers: BrokerAnswers;
  /** Called when the broker refuses a tenant's credentials or its vhost. */
  credentialsRefused(tenantId: TenantId): void;
  /** Whether other processes consume the same queues. */
  isAlone(): boolean;
  name: string;
  log: Logger;
}

export interface ConsumerOptions {
  /** Comes while others are at work, and does not wait behind those who only return. */
  newcomer: boolean;
  /** Called with the refusal's code when its configuration is refused. */
  configRefused(code: string): void;
  /** Called when it stays deaf whatever is renewed inside this process. */
  deaf(error: MatcherError): void;
}

export interface ConsumerState {
  /** Whether deliveries can come in now. */
  consuming: boolean;
  /** Since when they can, without a break, as RFC 3339; null while they can't. */
  since: string | null;
  /** Whether nothing is taken in because the tenant's database is away; it is probed. */
  paused: boolean;
  /** Jobs that have a slot now. */
  running: number;
}

/** Consumes one tenant's job queues in its vhost. Started once, stopped once. */
export class TenantConsumer {
  readonly tenantId: TenantId;
  readonly #parts: ConsumerParts;
  readonly #log: Logger;
  readonly #connection: VhostConnection;
  readonly #work: DeliveryWork;
  readonly #types: readonly JobType[];
  /** Those on which deliveries come in: one, or for a moment two while one takes over from the other. */
  readonly #subscriptions = new Set<Subscription>();
  readonly #working = new Set<Promise<void>>();
  readonly #delivered = new Map<JobType, number>();
  readonly #deafness = new DeafnessWatch();
  readonly #draining = new AbortController();
  readonly #ending = new AbortController();
  #looking = false;
  /** Which broker it is, or is to be, connected to. */
  #broker: RabbitmqTarget | undefined;
  #paused = false;
  #deaf: (error: MatcherError) => void;
  #since: Date | undefined;

  constructor(tenantId: TenantId, parts: ConsumerParts, options: ConsumerOptions) {
    this.tenantId = tenantId;
    this.#parts = parts;
    this.#types = parts.definitions.map(({ type }) => type);
    this.#deaf = options.deaf;
    this.#log = parts.log.child({ tenantId });
    this.#connection = new VhostConnection({
      target: () => this.#target(options),
      refused: () => parts.credentialsRefused(tenantId),
      turn: (target, signal) => {
        this.#broker = target;
        const isFirst = options.newcomer && this.#since === undefined;
        return parts.turns.take(target, isFirst ? 'newcomer' : 'return', signal);
      },
      setup: (model, channel) => this.#subscribe(model, channel),
      release: (model) => this.#release([...this.#subscriptions].filter((one) => one.model === model)),
      name: `${parts.name} ${tenantId}`,
      log: this.#log,
      metrics: parts.metrics,
    });
    const [draining, ending] = [this.#draining.signal, this.#ending.signal];
    this.#work = new DeliveryWork(parts, {
      tenantId,
      connection: this.#connection,
      draining,
      ending,
      slotPatience: () => (parts.isAlone() ? slotPatience.alone : slotPatience.among),
      databaseAway: () => this.#pause(),
      log: this.#log,
    });
  }

  /** Whether deliveries can come in now. */
  get consuming(): boolean {
    return this.#connection.connected && this.#subscriptions.size > 0;
  }

  /** Whether it does what it can: takes deliveries in, or waits for the tenant's database to answer again. */
  get settled(): boolean {
    return this.consuming || this.#paused;
  }

  /** Deliveries that have come in and are not settled yet. */
  get inHand(): number {
    return this.#working.size;
  }

  /** Whether more comes in than there is room for: a delivery waits for a slot, or a queue has sent as much as it may. */
  get pressed(): boolean {
    // Others would only wait for the same database.
    if (this.#work.waitsForDatabase) return false;
    if (this.#working.size > this.#work.running) return true;
    return [...this.#subscriptions].some((one) => this.#types.some((type) => !one.hasRoom(type)));
  }

  get state(): ConsumerState {
    const { consuming } = this;
    return {
      consuming,
      since: consuming && this.#since ? this.#since.toISOString() : null,
      paused: this.#paused,
      running: this.#work.running,
    };
  }

  start(): void {
    this.#connection.open();
  }

  /** Moves to another address or other credentials, if the broker is to be reached by other ones than now. */
  async refresh(target: RabbitmqTarget): Promise<void> {
    await this.#connection.refresh(target);
  }

  /** Takes no new job, gives running ones `timeoutMs`, then ends them so that they go back to their queues; then disconnects. */
  async stop(timeoutMs: number): Promise<void> {
    const stopping = new MatcherError('SHUTTING_DOWN', 'The process is stopping', { remedy: 'not-now' });
    this.#draining.abort(stopping);
    const subscriptions = [...this.#subscriptions];
    await Promise.all(subscriptions.map((subscription) => subscription.cancel()));
    for (const subscription of subscriptions) this.#forget(subscription);
    this.#log.debug({ holding: this.#working.size }, 'takes no new job');
    const timer = setTimeout(() => this.#ending.abort(stopping), timeoutMs);
    const allDone = async () => {
      while (this.#working.size > 0) await Promise.all(this.#working);
    };
    // What does not even end when it is told to is left behind: its message is delivered again, and its commit is fenced.
    await settledWithin(timeoutMs + endingGrace, allDone());
    clearTimeout(timer);
    await settledWithin(eventsGrace, this.#work.eventsSent());
    this.#ending.abort(stopping);
    if (this.#working.size > 0) this.#log.error({ jobs: this.#working.size }, 'jobs that do not end are left behind');
    if (this.#connection.connected) await delay(acknowledgementPause);
    await this.#connection.close();
  }

  /** Sends what an earlier process left in the outbox of this tenant. */
  sendLeftEvents(): void {
    this.#work.sendEvents();
  }

  /** Looks whether work comes in where there is some, and renews what may be the reason when it does not. To be called now and then. */
  async watch(): Promise<void> {
    const model = this.#connection.link?.model;
    const subscription = [...this.#subscriptions].findLast((one) => one.model === model);
    if (!model || !subscription || this.#looking) return;
    this.#looking = true;
    try {
      const remedy = await this.#look(model, subscription);
      // Whoever stops, or has come to another connection meanwhile, is in other hands.
      if (remedy && this.#connection.link?.model === model && !this.#draining.signal.aborted)
        await this.#apply(remedy, model);
    } finally {
      this.#looking = false;
    }
  }

  async #look(model: ChannelModel, subscription: Subscription): Promise<Remedy | undefined> {
    const question = this.#broker && this.#parts.answers.put(this.#broker);
    let ready: number[];
    try {
      ready = await readyMessages(model, this.#types.map(jobQueue), lookTimeout);
      question?.answered();
    } catch (error) {
      this.#log.warn({ reason: errorMessage(error) }, 'the broker does not say what waits in the queues');
      return question?.isOvertaken() ? this.#deafness.unanswered() : undefined;
    }
    // What came in before the answer counts, so the deliveries are read after it.
    const looks = this.#types.map((type, i) => ({
      type,
      ready: ready[i] as number,
      delivered: this.#delivered.get(type) ?? 0,
      hasRoom: subscription.hasRoom(type),
    }));
    return this.#deafness.judge(looks);
  }

  async #apply(remedy: Remedy, model: ChannelModel): Promise<void> {
    this.#log.error({ renewed: remedy }, 'nothing comes in on this connection');
    if (remedy === 'channel') {
      const old = [...this.#subscriptions];
      await this.#subscribe(model);
      // What the old channel has taken may be at work for hours.
      void this.#release(old).catch((error) => this.#log.warn({ reason: errorMessage(error) }, 'an old channel broke'));
    } else if (remedy === 'connection') {
      await this.#connection.rebuild();
    } else {
      const error = `Messages of tenant ${this.tenantId} wait and none is delivered, on a new channel or a new connection either`;
      this.#deaf(new MatcherError('CONSUMER_DEAF', error, { hint: 'A new process begins anew.' }));
    }
  }

  async #target({ configRefused }: ConsumerOptions): Promise<RabbitmqTarget> {
    try {
      return (await this.#parts.source.config(this.tenantId)).rabbitmq;
    } catch (error) {
      if (forbidsServing(error)) configRefused(error.code);
      throw error;
    }
  }

  /** @param shared the channel to consume on; without one, a new one is opened. */
  async #subscribe(model: ChannelModel, shared?: Channel): Promise<void> {
    if (this.#draining.signal.aborted || this.#paused) return;
    const options: SubscriptionOptions = {
      types: this.#types,
      prefetch: this.#parts.slots.perTenant,
      work: (channel, type, message) => {
        this.#delivered.set(type, (this.#delivered.get(type) ?? 0) + 1);
        const work = this.#work.handle(channel, type, message).finally(() => this.#working.delete(work));
        this.#working.add(work);
        return work;
      },
      lost: (lost) => {
        this.#forget(lost);
        // Without its channel a connection is alive and deaf: it starts anew as a whole.
        if (!this.#draining.signal.aborted) void closeConnection(model);
      },
      log: this.#log,
    };
    const subscription = await Subscription.open(model, options, shared);
    // A stop that came meanwhile has not seen this one; what it was sent goes back, and the connection ends soon.
    if (this.#draining.signal.aborted) return await subscription.cancel();
    if (subscription.over) throw new Error('the channel was closed while it was set up');
    if (this.#subscriptions.size === 0) {
      this.#since = new Date();
      this.#parts.metrics?.consumersActive.inc();
    }
    this.#subscriptions.add(subscription);
    this.#log.info({ types: this.#types }, 'consuming');
  }

  /** The tenant's database is away: its jobs stay in their queues, and it is asked now and then whether it is there again. */
  #pause(): void {
    if (this.#paused || this.#draining.signal.aborted) return;
    this.#paused = true;
    this.#parts.metrics?.tenantsPaused.inc();
    this.#log.warn('the tenant’s database is away: its jobs wait until it answers');
    const resume = async () => {
      await Promise.all([this.#release([...this.#subscriptions]), this.#databaseThere()]);
      this.#paused = false;
      this.#parts.metrics?.tenantsPaused.dec();
      if (this.#draining.signal.aborted) return;
      this.#log.info('the tenant’s database answers again');
      const link = this.#connection.link;
      if (link) await this.#subscribe(link.model, link.publishing);
    };
    resume().catch((error) => {
      this.#log.warn({ reason: errorMessage(error) }, 'consuming could not be taken up again on this connection');
      const model = this.#connection.link?.model;
      if (model) void closeConnection(model);
    });
  }

  async #databaseThere(): Promise<void> {
    const { signal } = this.#draining;
    for (let tries = 0; !signal.aborted; tries++) {
      const pause = Math.min(firstProbe * 2 ** tries, longestProbe) * (0.5 + Math.random() / 2);
      await delay(pause, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        return await this.#work.probeDatabase();
      } catch (error) {
        this.#log.debug({ reason: errorMessage(error) }, 'the tenant’s database is still away');
      }
    }
  }

  /** Ends subscriptions. Returns when what they have taken is done and acknowledged. */
  async #release(subscriptions: Subscription[]): Promise<void> {
    for (const subscription of subscriptions) {
      await subscription.cancel();
      this.#forget(subscription);
      await subscription.idle();
      await delay(acknowledgementPause);
      await subscription.close();
    }
  }

  #forget(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription) || this.#subscriptions.size > 0) return;
    this.#parts.metrics?.consumersActive.dec();
  }
}
