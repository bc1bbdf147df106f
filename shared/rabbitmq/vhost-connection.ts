import { setTimeout as delay } from 'node:timers/promises';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';
import { declareTopology } from './topology.ts';

const firstDelay = 100;
const longestDelay = 10_000;
const heartbeatSec = 10;
const connectTimeout = 10_000;

export interface VhostConnectionOptions {
  /** Asked before every attempt, so that a reconnection uses the credentials of now; this is why amqplib's own recovery, which keeps the first ones, is not used. */
  target(): Promise<RabbitmqTarget>;
  /** Called when the broker refused what `target` said, so that it is not said again from a cache. */
  refused?(): void;
  /** Everything that must be there again after every (re)connection, topology aside. */
  setup?(model: ChannelModel): Promise<void>;
  name: string;
  log: Logger;
}

/** One connection to one vhost. It reconnects, with growing and jittered delays, until it is closed. */
export class VhostConnection {
  readonly #options: VhostConnectionOptions;
  readonly #closing = new AbortController();
  #model: ChannelModel | undefined;
  #publishing: ConfirmChannel | undefined;
  #loop: Promise<void> | undefined;
  #ready = Promise.withResolvers<void>();
  /** Why the last attempt failed. */
  #failure: unknown;

  constructor(options: VhostConnectionOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#publishing !== undefined;
  }

  /** Starts connecting; returns at once. */
  open(): void {
    this.#loop ??= this.#stayConnected();
  }

  /**
   * The channel on which this connection publishes, with confirms. Waits for a connection that is coming.
   *
   * @throws MatcherError `BROKER_UNAVAILABLE` after `timeoutMs`.
   */
  async publishChannel(timeoutMs = 10_000): Promise<ConfirmChannel> {
    const deadline = Date.now() + timeoutMs;
    while (!this.#publishing) {
      const left = deadline - Date.now();
      if (left <= 0 || this.#closing.signal.aborted) {
        const reason = this.#failure === undefined ? '' : ` (${errorMessage(this.#failure)})`;
        throw new MatcherError('BROKER_UNAVAILABLE', `The tenant’s RabbitMQ vhost is not reachable${reason}`, {
          remedy: 'not-now',
          cause: this.#failure,
        });
      }
      const timer = new AbortController();
      await Promise.race([this.#ready.promise, delay(left, undefined, { signal: timer.signal }).catch(() => {})]);
      timer.abort();
    }
    return this.#publishing;
  }

  /** Closes for good. Consumers have to be cancelled before, and their acknowledgements sent. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#ready.resolve();
    await this.#model?.close().catch(() => {});
    await this.#loop;
  }

  async #stayConnected(): Promise<void> {
    const { log } = this.#options;
    for (let failures = 0; !this.#closing.signal.aborted; ) {
      try {
        const ended = await this.#connectOnce();
        failures = 0;
        this.#failure = undefined;
        const reason = await ended;
        if (this.#closing.signal.aborted) break;
        log.warn({ reason }, 'lost the connection to the vhost');
      } catch (error) {
        if (this.#closing.signal.aborted) break;
        this.#failure = error;
        if (/ACCESS.REFUSED/.test(errorMessage(error))) this.#options.refused?.();
        log.warn({ code: errorCode(error), reason: errorMessage(error) }, 'cannot connect to the vhost');
      }
      const pause = Math.min(firstDelay * 2 ** failures++, longestDelay) * (0.5 + Math.random() / 2);
      await delay(pause, undefined, { signal: this.#closing.signal }).catch(() => {});
    }
  }

  /** @returns a promise of the connection's end, once everything is set up. */
  async #connectOnce(): Promise<Promise<string>> {
    const { target, setup, name, log } = this.#options;
    const { host, port, vhost, user, password, tls } = await target();
    const model = await connect(
      {
        protocol: tls ? 'amqps' : 'amqp',
        hostname: host,
        port,
        vhost,
        username: user,
        password,
        heartbeat: heartbeatSec,
      },
      // Nagle's algorithm would hold a publish back behind an unacknowledged frame.
      { noDelay: true, timeout: connectTimeout, clientProperties: { connection_name: name } },
    );
    const ended = Promise.withResolvers<string>();
    model.on('error', (error) => log.debug({ reason: errorMessage(error) }, 'connection error'));
    model.on('close', (error) => {
      this.#model = undefined;
      this.#publishing = undefined;
      ended.resolve(error ? errorMessage(error) : 'closed by the broker');
    });
    this.#model = model;
    try {
      if (this.#closing.signal.aborted) throw new Error('closing');
      const channel = await model.createConfirmChannel();
      channel.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'publish channel failed'));
      // A channel without which nothing can be published is as bad as no connection.
      channel.on('close', () => void model.close().catch(() => {}));
      await declareTopology(channel);
      await setup?.(model);
      // A connection that broke just now must not be taken for one that stands.
      if (this.#model !== model) throw new Error('the connection was closed while it was set up');
      this.#publishing = channel;
      this.#ready.resolve();
      this.#ready = Promise.withResolvers();
    } catch (error) {
      await model.close().catch(() => {});
      throw error;
    }
    return ended.promise;
  }
}
