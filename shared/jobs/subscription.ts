import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { settledWithin } from '../rabbitmq/connect-vhost.ts';
import { jobQueue } from '../rabbitmq/topology.ts';
import type { JobType } from './contracts/job-types.ts';

/** How long (ms) the broker may take to confirm that it sends nothing more. */
const cancelTimeout = 5000;

export interface SubscriptionOptions {
  types: readonly JobType[];
  /** Messages of one queue that are held at most, at work or waiting for a slot. More would only be kept from other processes. */
  prefetch: number;
  /** Works on a delivery to its end, acknowledgement included. Never rejects. */
  work(channel: Channel, type: JobType, message: ConsumeMessage): Promise<void>;
  /** Called when it has ended though nobody wanted it to. */
  lost(subscription: Subscription): void;
  log: Logger;
}

/** A tenant's job queues, consumed on one channel: the one on which the connection publishes, or one of its own. */
export class Subscription {
  readonly model: ChannelModel;
  readonly #channel: Channel;
  readonly #isOwn: boolean;
  readonly #options: SubscriptionOptions;
  readonly #tags: string[] = [];
  readonly #working = new Set<Promise<void>>();
  readonly #held = new Map<JobType, number>();
  #cancelled = false;

  /**
   * Consumes from now on.
   *
   * @param shared the channel to do so on; without one, a new one is opened.
   */
  static async open(model: ChannelModel, options: SubscriptionOptions, shared?: Channel): Promise<Subscription> {
    const channel = shared ?? (await model.createChannel());
    const subscription = new Subscription(model, channel, shared === undefined, options);
    await subscription.#consume();
    return subscription;
  }

  private constructor(model: ChannelModel, channel: Channel, isOwn: boolean, options: SubscriptionOptions) {
    this.model = model;
    this.#channel = channel;
    this.#isOwn = isOwn;
    this.#options = options;
    channel.on('close', this.#closed);
    if (isOwn)
      channel.on('error', (error) => options.log.warn({ reason: errorMessage(error) }, 'consumer channel failed'));
  }

  /** Whether nothing comes in any more, wanted or not. */
  get over(): boolean {
    return this.#cancelled;
  }

  /** Whether the broker may send another message of this queue. */
  hasRoom(type: JobType): boolean {
    return (this.#held.get(type) ?? 0) < this.#options.prefetch;
  }

  /** Takes nothing new from now on. */
  async cancel(): Promise<void> {
    this.#cancelled = true;
    const cancelled = this.#tags.splice(0).map((tag) => this.#channel.cancel(tag).catch(() => {}));
    await settledWithin(cancelTimeout, Promise.all(cancelled));
  }

  /** Waits for the end of what it has taken, that which still comes included. */
  async idle(): Promise<void> {
    while (this.#working.size > 0) await Promise.all(this.#working);
  }

  /** To be called when its acknowledgements have got out. */
  async close(): Promise<void> {
    this.#cancelled = true;
    this.#channel.off('close', this.#closed);
    if (this.#isOwn) await settledWithin(cancelTimeout, this.#channel.close());
  }

  readonly #closed = () => {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#options.lost(this);
  };

  async #consume(): Promise<void> {
    await this.#channel.prefetch(this.#options.prefetch);
    for (const type of this.#options.types) {
      const { consumerTag } = await this.#channel.consume(jobQueue(type), (message) => this.#take(type, message));
      this.#tags.push(consumerTag);
    }
  }

  #take(type: JobType, message: ConsumeMessage | null): void {
    if (message === null) {
      // The broker cancelled the consumer: its queue was deleted or moved.
      void this.#channel.close().catch(() => {});
      return;
    }
    this.#held.set(type, (this.#held.get(type) ?? 0) + 1);
    const work = this.#options.work(this.#channel, type, message).finally(() => {
      this.#working.delete(work);
      this.#held.set(type, (this.#held.get(type) ?? 0) - 1);
    });
    this.#working.add(work);
  }
}
