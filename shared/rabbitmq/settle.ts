import type { ConsumeMessage } from 'amqplib';
import { errorCode } from '../errors.ts';
import type { Failure } from '../jobs/contracts/events.ts';
import type { JobType } from '../jobs/contracts/job-types.ts';
import { heldFenceHeader, tenantHeader } from '../jobs/message.ts';
import { publishConfirmed } from './publish.ts';
import { deadLetters, delayExchange, delayOf } from './topology.ts';
import type { VhostConnection } from './vhost-connection.ts';

/** Headers that say why a message is among the dead letters. */
export const deathHeaders = {
  code: 'X-Death-Code',
  reason: 'X-Death-Reason',
  attempt: 'X-Death-Attempt',
  at: 'X-Death-At',
  routingKey: 'X-Death-Routing-Key',
} as const;

/** Headers that say why a message was put off, and of which attempt. */
export const retryHeaders = { attempt: 'X-Retry-Attempt', code: 'X-Retry-Code', reason: 'X-Retry-Reason' } as const;

/** Of a message that is put off. */
export interface Postponement {
  seconds: number;
  attempt?: number;
  failure?: Failure | undefined;
  /** See `heldFenceHeader`. */
  heldFence?: string | undefined;
}

/**
 * Puts a copy of the message where it comes back from after about `seconds`, but not all at once with others that were put off at the same moment. The delivery itself is still to be acknowledged: only then is
 * there one message again, and a crash in between leaves two of the same id, not none.
 */
export async function delayMessage(
  connection: VhostConnection,
  message: ConsumeMessage,
  type: JobType,
  { seconds, attempt, failure, heldFence }: Postponement,
): Promise<void> {
  const delay = delayOf(seconds);
  const properties = copyOf(message, {
    ...(failure && {
      [retryHeaders.attempt]: attempt ?? 0,
      [retryHeaders.code]: failure.code,
      [retryHeaders.reason]: failure.message.slice(0, 500),
    }),
    ...(heldFence === undefined ? {} : { [heldFenceHeader]: heldFence }),
  });
  await publishConfirmed(connection, {
    exchange: delayExchange(delay),
    // By its queue's type it comes back, whatever way it first came.
    routingKey: type,
    content: message.content,
    properties: { ...properties, expiration: Math.ceil(delay * 1000 * (0.6 + 0.4 * Math.random())) },
  });
}

/** Puts a copy of the message into the dead letters, with what happened in its headers. The delivery is still to be acknowledged. */
export async function buryMessage(
  connection: VhostConnection,
  message: ConsumeMessage,
  failure: Failure,
  attempt: number,
): Promise<void> {
  const headers = {
    [deathHeaders.code]: failure.code,
    // Headers share one 64 KiB table; a long list of problems must not make a message unburiable.
    [deathHeaders.reason]: failure.message.slice(0, 2000),
    [deathHeaders.attempt]: attempt,
    [deathHeaders.at]: new Date().toISOString(),
    [deathHeaders.routingKey]: message.fields.routingKey,
  };
  const bury = (properties: ReturnType<typeof copyOf>) =>
    publishConfirmed(connection, {
      exchange: deadLetters,
      routingKey: message.fields.routingKey,
      content: message.content,
      properties,
    });
  const whole = copyOf(message, headers);
  try {
    await bury(whole);
  } catch (error) {
    if (errorCode(error) !== 'MESSAGE_TOO_LARGE') throw error;
    // Its own headers leave no room for the reason, which is worth more.
    await bury({ ...whole, headers: { [tenantHeader]: message.properties.headers?.[tenantHeader], ...headers } });
  }
}

/** Said anew each time, as against the fence of a claim that is still held: the next to put the message off may not even ask the database. */
const ours = new Set<string>(Object.values(retryHeaders));

/** The message's own properties, so that it stays what its publisher sent. The broker's record of its way stays behind. */
function copyOf(message: ConsumeMessage, headers: Record<string, unknown>) {
  const { properties } = message;
  const own = Object.entries(properties.headers ?? {}).filter(
    ([name]) => !/^x-(death|first-death|last-death|delivery)/.test(name) && !ours.has(name),
  );
  return {
    messageId: String(properties.messageId ?? ''),
    type: properties.type,
    contentType: properties.contentType,
    contentEncoding: properties.contentEncoding,
    correlationId: properties.correlationId,
    timestamp: properties.timestamp,
    appId: properties.appId,
    headers: { ...Object.fromEntries(own), ...headers },
    mandatory: true,
  };
}
