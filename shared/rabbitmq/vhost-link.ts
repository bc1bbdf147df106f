import { setTimeout as delay } from 'node:timers/promises';
import type { ChannelModel, ConfirmChannel } from 'amqplib';
import { isLoopback } from '../config/kinds.ts';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';
import { closeConnection, connectVhost } from './connect-vhost.ts';
import { declareTopology } from './topology.ts';

/** How long (ms) declaring and consuming may take, once the connection stands. */
const setupTimeout = 30_000;

/** One connection that is completely set up, until it ends. */
export interface Link {
  readonly target: RabbitmqTarget;
  readonly model: ChannelModel;
  /** With confirms. */
  readonly publishing: ConfirmChannel;
  /** The reason, once it has ended. */
  readonly ended: Promise<string>;
}

export interface LinkOptions {
  /** Everything that must be there on a new connection, topology aside. `publishing` is the channel that it publishes on. */
  setup?(model: ChannelModel, publishing: ConfirmChannel): Promise<void>;
  name: string;
  log: Logger;
}

/**
 * Connects, declares the topology and sets up.
 *
 * @param closing once it is aborted, nothing is set up any more, and what has been is taken down.
 */
export async function openLink(target: RabbitmqTarget, options: LinkOptions, closing: AbortSignal): Promise<Link> {
  const { setup, name, log } = options;
  const model = await connectVhost(target, name);
  // Existing servers leave `tls` out for a broker in the clear: what goes over the network that way must at least be seen.
  if (!target.tls && !isLoopback(target.host))
    log.warn({ host: target.host }, 'the way to the broker is not encrypted');
  let over = false;
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  model.on('error', (error) => log.debug({ reason: errorMessage(error) }, 'connection error'));
  model.on('close', (error) => {
    over = true;
    resolve(error ? errorMessage(error) : 'closed by the broker');
  });
  const inTime = new AbortController();
  const stop = AbortSignal.any([closing, inTime.signal]);
  const late = delay(setupTimeout, undefined, { signal: stop }).then(
    () => Promise.reject(new Error('the broker did not set up the connection in time')),
    () => Promise.reject(new Error('closing')),
  );
  late.catch(() => {});
  try {
    const publishing = await Promise.race([late, setUp()]);
    // A connection that broke just now must not be taken for one that stands.
    if (over || closing.aborted) throw new Error('the connection was closed while it was set up');
    return { target, model, publishing, ended };
  } catch (error) {
    await closeConnection(model);
    throw error;
  } finally {
    inTime.abort();
  }

  async function setUp(): Promise<ConfirmChannel> {
    closing.throwIfAborted();
    const channel = await model.createConfirmChannel();
    channel.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'channel failed'));
    // A channel without which nothing can be published is as bad as no connection.
    channel.on('close', () => void closeConnection(model));
    await declareTopology(channel);
    closing.throwIfAborted();
    await setup?.(model, channel);
    return channel;
  }
}
