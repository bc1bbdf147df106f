import type { ConfirmChannel, Message, Options } from 'amqplib';
import { MatcherError } from '../errors.ts';
import type { VhostConnection } from './vhost-connection.ts';

/** How long (ms) the broker may take to confirm a message. */
const confirmTimeout = 30_000;

/** Ids of messages that the broker sent back because no queue takes them, per channel. */
const returned = new WeakMap<ConfirmChannel, Set<string>>();

export interface OutgoingMessage {
  exchange: string;
  routingKey: string;
  content: Buffer;
  properties: Options.Publish & { messageId: string };
}

/**
 * Publishes persistently and waits for the broker's confirmation. A `mandatory` message that no queue takes is an error instead of a
 * confirmed loss.
 *
 * @throws MatcherError `BROKER_UNAVAILABLE`, `UNROUTABLE`, `MESSAGE_TOO_LARGE`, `NOT_CONFIRMED`. After the last one, whether the message was taken is unknown:
 *   publish it again under the same id.
 */
export async function publishConfirmed(connection: VhostConnection, message: OutgoingMessage): Promise<void> {
  const channel = await connection.publishChannel();
  const sentBack = returnsOf(channel);
  const { messageId } = message.properties;
  sentBack.delete(messageId);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(() => reject(notConfirmed('in time')), confirmTimeout);
  try {
    channel.publish(
      message.exchange,
      message.routingKey,
      message.content,
      { ...message.properties, persistent: true },
      (error) => (error ? reject(notConfirmed('the message', error)) : resolve()),
    );
    await promise;
  } catch (error) {
    if (error instanceof MatcherError) throw error;
    if (error instanceof RangeError) {
      throw new MatcherError('MESSAGE_TOO_LARGE', 'The headers of the message are larger than AMQP takes', {
        cause: error,
      });
    }
    // A channel that closed between the two lines above.
    throw notConfirmed('the message', error);
  } finally {
    clearTimeout(timer);
  }
  // The broker returns an unroutable message before it confirms it.
  if (sentBack.delete(messageId)) {
    throw new MatcherError('UNROUTABLE', `No queue takes messages for ${message.exchange} ${message.routingKey}`, {
      hint: 'Check the routing key, and that a worker has declared the topology of this vhost.',
    });
  }
}

function returnsOf(channel: ConfirmChannel): Set<string> {
  let ids = returned.get(channel);
  if (!ids) {
    const fresh = new Set<string>();
    channel.on('return', (message: Message) => fresh.add(String(message.properties.messageId)));
    returned.set(channel, fresh);
    ids = fresh;
  }
  return ids;
}

function notConfirmed(what: string, cause?: unknown): MatcherError {
  return new MatcherError('NOT_CONFIRMED', `The broker did not confirm ${what}`, { remedy: 'not-now', cause });
}
