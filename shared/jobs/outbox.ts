import { randomUUID } from 'node:crypto';
import { unflushed } from '../postgres/session-state.ts';
import type { TenantDatabase } from '../postgres/tenant-database.ts';
import type { Transaction } from '../postgres/transaction.ts';
import { publishConfirmed } from '../rabbitmq/publish.ts';
import { eventsExchange } from '../rabbitmq/topology.ts';
import type { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { tenantHeader } from './message.ts';
import type { OutboxRow } from './record.ts';

/** An event of a job; the envelope's other fields are added to it. */
export interface JobEvent {
  eventType: string;
  jobId: string;
  [field: string]: unknown;
}

/** Whose event it is. */
export interface Sender {
  tenantId: TenantId;
  slug: string;
}

/** Events sent between two looks into the table. Their confirmations are awaited together. */
const batch = 200;
/** Bytes of events, as PostgreSQL keeps them, that are read at a time; one that is larger comes alone. */
const batchSize = 1_000_000;

/** An event as it goes into the outbox, with an id of its own. */
export function outboxRow(sender: Sender, event: JobEvent): OutboxRow {
  // Last, so that no event can say that it is another tenant's.
  const eventId = randomUUID();
  const body = {
    ...event,
    eventId,
    tenantId: sender.tenantId,
    tenantSlug: sender.slug,
    timestamp: new Date().toISOString(),
  };
  return { eventId, eventType: event.eventType, body };
}

/** Puts events of a job into the outbox: they leave in their order, before that of the job's end, once the transaction in which it completes is committed. */
export async function addEvents(
  tx: Pick<Transaction, 'query'>,
  sender: Sender,
  events: readonly JobEvent[],
): Promise<void> {
  const rows = events.map((event) => outboxRow(sender, event));
  await tx.query(
    `INSERT INTO outbox (event_id, event_type, body)
     SELECT id, type, body FROM unnest($1::uuid[], $2::text[], $3::jsonb[]) WITH ORDINALITY AS event (id, type, body, place) ORDER BY place`,
    [
      rows.map(({ eventId }) => eventId),
      rows.map(({ eventType }) => eventType),
      rows.map(({ body }) => JSON.stringify(body)),
    ],
  );
}

/**
 * Takes the next events out, up to a size: whoever comes at the same time waits at the first row, so that one process at a time sends for a tenant and
 * the order is kept. Whether the rows are really gone is not waited for (a crash of the server only lets them be sent again).
 */
const takeNext = `
  WITH quick AS MATERIALIZED (SELECT ${unflushed}),
       next AS MATERIALIZED (SELECT position, pg_column_size(body) AS size FROM outbox ORDER BY position LIMIT ${batch} FOR UPDATE),
       sized AS (SELECT position, size, sum(size) OVER (ORDER BY position) - size AS before FROM next, quick)
  DELETE FROM outbox USING sized WHERE outbox.position = sized.position AND before < ${batchSize}
  RETURNING outbox.position, event_id, event_type, body::text AS body, size`;

/** Sends what is in the outbox, in order; it is gone from there once the broker has confirmed it. An event that was sent twice has the same id twice. */
export async function drainOutbox(
  db: TenantDatabase,
  connection: VhostConnection,
  tenantId: TenantId,
  signal: AbortSignal,
): Promise<void> {
  let more: boolean;
  do {
    more = await db.transaction(async (tx) => {
      const events = await tx.query<{
        position: string;
        event_id: string;
        event_type: string;
        body: string;
        size: number;
      }>(takeNext, []);
      events.sort((a, b) => Number(BigInt(a.position) - BigInt(b.position)));
      await Promise.all(
        events.map(({ event_id, event_type, body }) => publishEvent(connection, tenantId, event_type, event_id, body)),
      );
      // What was committed in the meantime is sent by whoever committed it.
      return events.length === batch || events.reduce((sum, { size }) => sum + size, 0) >= batchSize;
    }, signal);
  } while (more);
}

/** Publishes an event that hangs on no commit. */
export async function publishNow(connection: VhostConnection, sender: Sender, event: JobEvent): Promise<void> {
  const { eventId, eventType, body } = outboxRow(sender, event);
  await publishEvent(connection, sender.tenantId, eventType, eventId, JSON.stringify(body));
}

async function publishEvent(
  connection: VhostConnection,
  tenantId: TenantId,
  eventType: string,
  eventId: string,
  body: string,
): Promise<void> {
  await publishConfirmed(connection, {
    exchange: eventsExchange,
    routingKey: eventType,
    content: Buffer.from(body),
    // Not mandatory: an event that nobody listens for is nobody's loss.
    properties: {
      messageId: eventId,
      type: eventType,
      contentType: 'application/json',
      headers: { [tenantHeader]: tenantId },
    },
  });
}
