import { connect } from 'amqplib';
import type { Client } from 'pg';
import type { EventMessage, TenantState } from './state.ts';

/** Reads what a tenant's servers hold, with the bare drivers, and changes nothing. */

/** The contract's names (docs/publishing.md). */
const jobQueues = [
  'context.apply',
  'ingestion.run',
  'matching.run',
  'matching.confirm',
  'matching.reject',
  'matching.revoke',
  'matching.manual',
  'export.run',
].map((type) => `matcher.jobs.${type}`);
const delayQueues = [1, 5, 30].map((seconds) => `matcher.delay.${seconds}`);
const deadLetters = 'matcher.dead';
const events = 'matcher.events';

/** Keeps every event from now on. */
export const recorder = 'torture.events';

export interface Vhost {
  host: string;
  port: number;
  vhost: string;
  username: string;
  password: string;
}

const open = ({ host: hostname, ...vhost }: Vhost) => connect({ protocol: 'amqp', hostname, ...vhost });

/** Binds a durable queue to the tenant's events. */
export async function recordEvents(vhost: Vhost): Promise<void> {
  const connection = await open(vhost);
  const channel = await connection.createChannel();
  await channel.assertExchange(events, 'topic', { durable: true });
  await channel.assertQueue(recorder, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await channel.bindQueue(recorder, events, '#');
  await connection.close();
}

/** Messages that are ready in all of the tenant's queues together. */
export async function waitingMessages(vhost: Vhost): Promise<number> {
  const connection = await open(vhost);
  try {
    const channel = await connection.createChannel();
    let waiting = 0;
    for (const queue of [...jobQueues, ...delayQueues]) waiting += (await channel.checkQueue(queue)).messageCount;
    return waiting;
  } finally {
    await connection.close();
  }
}

type BrokerState = Pick<TenantState, 'events' | 'queues' | 'deadLetters'>;

/** The messages stay where they are. Nobody else may consume meanwhile. */
export async function readVhost(vhost: Vhost): Promise<BrokerState> {
  const connection = await open(vhost);
  try {
    const channel = await connection.createChannel();
    const queues = new Map<string, number>();
    for (const queue of [...jobQueues, ...delayQueues, deadLetters]) {
      queues.set(queue, (await channel.checkQueue(queue)).messageCount);
    }
    const read = async (queue: string) => {
      const { messageCount } = await channel.checkQueue(queue);
      const messages: EventMessage[] = [];
      const headers: Record<string, unknown>[] = [];
      if (messageCount === 0) return { messages, headers };
      // Unacknowledged, they go back when the connection is closed.
      await new Promise<void>((done, failed) => {
        channel.once('close', () => failed(new Error('the channel was closed')));
        channel
          .consume(queue, (message) => {
            if (!message) return failed(new Error(`${queue} is gone`));
            const { properties, fields, content } = message;
            headers.push(properties.headers ?? {});
            messages.push({
              messageId: String(properties.messageId ?? ''),
              routingKey: fields.routingKey,
              tenantHeader: String(properties.headers?.['X-Tenant-ID'] ?? ''),
              text: content.toString(),
            });
            if (messages.length === messageCount) done();
          })
          .catch(failed);
      });
      return { messages, headers };
    };
    const dead = await read(deadLetters);
    return {
      queues,
      events: (await read(recorder)).messages,
      deadLetters: dead.messages.map(({ messageId }, i) => ({
        messageId,
        code: String(dead.headers[i]?.['X-Death-Code'] ?? ''),
        reason: String(dead.headers[i]?.['X-Death-Reason'] ?? ''),
      })),
    };
  } finally {
    await connection.close();
  }
}

const statements = {
  owners: 'SELECT tenant_id FROM tenant',
  jobs: `SELECT id, type, body, state, attempt, fence::int, deaths, result, error, (extract(epoch FROM created_at) * 1000)::float8 AS created,
                (extract(epoch FROM finished_at) * 1000)::float8 AS finished FROM jobs`,
  contexts: 'SELECT id, name, revision FROM contexts',
  loads: `SELECT l.job_id, c.name AS context, s.name AS source, l.records
            FROM loads l JOIN contexts c ON c.id = l.context_id JOIN sources s ON s.id = l.source_id`,
  transactions: `SELECT t.id::text, c.name AS context, s.name AS source, t.external_id, t.amount::text, t.currency,
                        to_char(t.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, t.description, t.metadata
                   FROM transactions t LEFT JOIN sources s ON s.id = t.source_id LEFT JOIN contexts c ON c.id = s.context_id`,
  groups: 'SELECT id::text, context_id, status FROM match_groups',
  items: 'SELECT transaction_id::text, group_id::text, side::text FROM match_items',
  exceptions: 'SELECT transaction_id::text, context_id FROM exceptions',
  rejected: 'SELECT job_id, row, code FROM rejected_records',
  runs: `SELECT job_id, context_id, mode, (statistics ->> 'matched')::int AS matched FROM match_runs`,
  exports: 'SELECT job_id, context_id, report, object_key, rows::int, bytes::int, sha256 FROM exports',
  outbox: 'SELECT event_id::text, event_type FROM outbox',
} satisfies Partial<Record<keyof TenantState, string>>;

/** @param client whose search path leads to the tenant's tables. */
export async function readDatabase(client: Client): Promise<Omit<TenantState, keyof BrokerState>> {
  const found: Record<string, unknown[]> = {};
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  for (const [name, statement] of Object.entries(statements)) found[name] = (await client.query(statement)).rows;
  await client.query('COMMIT');
  const owners = (found.owners as { tenant_id: string }[]).map(({ tenant_id }) => tenant_id);
  return { ...found, owners } as unknown as Omit<TenantState, keyof BrokerState>;
}
