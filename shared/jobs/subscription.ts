import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { settledWithin } from '../rabbitmq/connect-vhost.ts';
import { jobQueue } from '../rabbitmq/topology.ts';
import type { JobType } from './contracts/job-types.ts';

/** Messages of one queue that a process holds at most, at work or waiting for a slot. More would only be kept from other processes. */
export const prefetch = 2;

/** How long (ms) the broker may take to confirm that it sends nothing more. */
const cancelTimeout = 5000;

export interface SubscriptionOptions {
  types: readonly JobType[];
  /** Works on a delivery to its end, acknowledgement included. Never rejects. */
  work(channel: Channel, type: JobType, message: ConsumeMessage): Promise<void>;
  /** Called when it has ended though nobody wanted it to. */
  lost(subscription: Subscription): void;
  log: Logger;
}

/** A tenant's job queues, consumed on one channel. */
export class Subscription {
  readonly model: ChannelModel;
  readonly #channel: Channel;
  readonly #options: SubscriptionOptions;
  readonly #tags: string[] = [];
  readonly #working = new Set<Promise<void>>();
  readonly #held = new Map<JobType, number>();
  #cancelled = false;

  /** Consumes from now on. */
  static async open(model: ChannelModel, options: SubscriptionOptions): Promise<Subscription> {
    const channel = await model.createChannel();
    const subscription = new Subscription(model, channel, options);
    await subscription.#consume();
    return subscription;
  }

  private constructor(model: ChannelModel, channel: Channel, options: SubscriptionOptions) {
    this.model = model;
    this.#channel = channel;
    this.#options = options;
    channel.on('error', (error) => options.log.warn({ reason: errorMessage(error) }, 'consumer channel failed'));
    channel.on('close', () => {
      if (this.#cancelled) return;
      this.#cancelled = true;
      options.lost(this);
    });
  }

  /** Whether nothing comes in any more, wanted or not. */
  get over(): boolean {
    return this.#cancelled;
  }

  /** Whether the broker may send another message of this queue. */
  hasRoom(type: JobType): boolean {
    return (this.#held.get(type) ?? 0) < prefetch;
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
    await settledWithin(cancelTimeout, this.#channel.close());
  }

  async #consume(): Promise<void> {
    await this.#channel.prefetch(prefetch);
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
