import type { ConsumeMessage, Options } from 'amqplib';
import { heldFenceHeader, tenantHeader } from '../jobs/message.ts';
import { publishConfirmed } from './publish.ts';
import { deathHeaders, retryHeaders } from './settle.ts';
import { jobsExchange } from './topology.ts';
import type { VhostConnection } from './vhost-connection.ts';

/** A dead letter, as far as it can be told without its body. All of it was written by others. */
export interface DeadLetter {
  /** Its `message_id`. */
  jobId: string | null;
  /** Its `type`. */
  type: string | null;
  /** With which it was published to `matcher.jobs`. */
  routingKey: string;
  /** What its `X-Tenant-ID` says; whose it is, its vhost says. */
  tenantHeader: string | null;
  /** Why it is here: the failure's code, the broker's own reason (`DELIVERY_LIMIT`), or `UNKNOWN`. */
  code: string;
  reason: string | null;
  /** Attempts that were charged. */
  attempt: number | null;
  /** When it was given up, as RFC 3339. */
  at: string | null;
  /** Of its body. */
  bytes: number;
}

/**
 * Publishes a dead letter as its publisher did, and waits until the broker has confirmed it. The letter itself is still to be removed.
 *
 * @throws MatcherError as `publishConfirmed` does.
 */
export async function republish(connection: VhostConnection, message: ConsumeMessage): Promise<void> {
  const { properties } = message;
  // Not `userId`, which the broker checks: a rotation may have given the tenant another user.
  const own: Options.Publish = {
    contentType: properties.contentType,
    contentEncoding: properties.contentEncoding,
    priority: properties.priority,
    correlationId: properties.correlationId,
    replyTo: properties.replyTo,
    expiration: properties.expiration,
    timestamp: properties.timestamp,
    type: properties.type,
    appId: properties.appId,
    headers: withoutDeath(properties.headers),
  };
  await publishConfirmed(connection, {
    exchange: jobsExchange,
    routingKey: describeDeadLetter(message).routingKey,
    content: message.content,
    properties: { ...own, messageId: String(properties.messageId), mandatory: true },
  });
}

const ofWorkers = new Set<string>([...Object.values(deathHeaders), ...Object.values(retryHeaders), heldFenceHeader]);

/** The publisher's headers: neither the workers' record of the message's way nor the broker's. */
function withoutDeath(headers: Record<string, unknown> = {}): Record<string, unknown> {
  const own = Object.entries(headers).filter(
    ([name]) => !ofWorkers.has(name) && !/^x-(death|first-death|last-death|delivery)/.test(name),
  );
  return Object.fromEntries(own);
}

interface BrokerDeath {
  reason?: unknown;
  time?: { value?: unknown };
  'routing-keys'?: unknown;
}

/** Reads what a message among the dead letters says of itself; nothing in it has to be as it should. */
export function describeDeadLetter({ properties, fields, content }: ConsumeMessage): DeadLetter {
  const headers: Record<string, unknown> = properties.headers ?? {};
  const death = brokersDeath(headers['x-death']);
  const code = text(headers[deathHeaders.code]);
  const keys = death?.['routing-keys'];
  const attempt = headers[deathHeaders.attempt];
  return {
    jobId: text(properties.messageId),
    type: text(properties.type),
    routingKey: text(headers[deathHeaders.routingKey]) ?? text(Array.isArray(keys) && keys[0]) ?? fields.routingKey,
    tenantHeader: text(headers[tenantHeader]),
    code: code ?? text(death?.reason)?.toUpperCase() ?? 'UNKNOWN',
    reason: text(headers[deathHeaders.reason]) ?? (death && code === null ? 'The broker itself gave it up' : null),
    attempt: typeof attempt === 'number' ? attempt : null,
    at: text(headers[deathHeaders.at]) ?? secondsText(death?.time?.value),
    bytes: content.length,
  };
}

/** RabbitMQ's own record, the last death first. */
function brokersDeath(header: unknown): BrokerDeath | undefined {
  const last: unknown = Array.isArray(header) ? header[0] : undefined;
  return typeof last === 'object' && last !== null ? last : undefined;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function secondsText(value: unknown): string | null {
  return typeof value === 'number' && Math.abs(value) < 1e12 ? new Date(value * 1000).toISOString() : null;
}
