import { randomUUID } from 'node:crypto';
import type { TenantDatabase, Transaction } from '../postgres/tenant-database.ts';
import { publishConfirmed } from '../rabbitmq/publish.ts';
import { eventsExchange } from '../rabbitmq/topology.ts';
import type { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { tenantHeader } from './message.ts';

/** An event as it stands in the outbox; the envelope's other fields are added here. */
export interface OutgoingEvent {
  eventType: string;
  jobId: string;
  [field: string]: unknown;
}

/** Events sent between two looks into the table. Their confirmations are awaited together. */
const batch = 200;

/** Puts an event into the transaction that makes it true. */
export async function addToOutbox(
  tx: Transaction,
  tenant: { tenantId: TenantId; slug: string },
  event: OutgoingEvent,
): Promise<void> {
  const body = envelope(tenant, event);
  await tx.query('INSERT INTO outbox (event_id, event_type, body) VALUES ($1, $2, $3)', [
    body.eventId,
    event.eventType,
    JSON.stringify(body),
  ]);
}

/**
 * Sends what is in the outbox, in order, and deletes what the broker confirmed. An advisory lock lets one process at a time do so for a tenant, which keeps
 * the order. An event that was sent twice has the same id twice.
 */
export async function drainOutbox(
  db: TenantDatabase,
  connection: VhostConnection,
  tenantId: TenantId,
  signal: AbortSignal,
): Promise<void> {
  let sent: number;
  do {
    sent = await db.transaction(async (tx) => {
      await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended('outbox of ' || current_schema(), 0))`);
      const events = await tx.query<{ position: string; event_id: string; event_type: string; body: unknown }>(
        'SELECT position, event_id, event_type, body FROM outbox ORDER BY position LIMIT $1',
        [batch],
      );
      await Promise.all(
        events.map(({ event_id, event_type, body }) => publishEvent(connection, tenantId, event_type, event_id, body)),
      );
      await tx.query('DELETE FROM outbox WHERE position = ANY($1)', [events.map(({ position }) => position)]);
      return events.length;
    }, signal);
  } while (sent === batch);
}

/** Publishes an event that hangs on no commit. */
export async function publishNow(
  connection: VhostConnection,
  tenant: { tenantId: TenantId; slug: string },
  event: OutgoingEvent,
): Promise<void> {
  const body = envelope(tenant, event);
  await publishEvent(connection, tenant.tenantId, event.eventType, body.eventId, body);
}

function envelope(tenant: { tenantId: TenantId; slug: string }, event: OutgoingEvent) {
  // Last, so that no event can say that it is another tenant's.
  return {
    ...event,
    eventId: randomUUID(),
    tenantId: tenant.tenantId,
    tenantSlug: tenant.slug,
    timestamp: new Date().toISOString(),
  };
}

async function publishEvent(
  connection: VhostConnection,
  tenantId: TenantId,
  eventType: string,
  eventId: string,
  body: unknown,
): Promise<void> {
  await publishConfirmed(connection, {
    exchange: eventsExchange,
    routingKey: eventType,
    content: Buffer.from(JSON.stringify(body)),
    // Not mandatory: an event that nobody listens for is nobody's loss.
    properties: {
      messageId: eventId,
      type: eventType,
      contentType: 'application/json',
      headers: { [tenantHeader]: tenantId },
    },
  });
}
