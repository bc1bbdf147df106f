import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { Slots } from '@matcher/shared/slots.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { Pool } from 'pg';
import { openVhost } from '../support/tenant-manager.ts';

/**
 * What somebody would write who needs a record, a result and an event of each job, exactly once, and nothing else: amqplib and pg, one statement after
 * another in a transaction, the event with a confirm, then the acknowledgement. No leases, no retries, no fair turns, no refresh.
 */
export const bareQueue = 'bench.bare';

export async function startBareLoop(tenants: readonly TenantConfig[], settings: Settings, concurrency: number) {
  const slots = new Slots(concurrency);
  const working = new Set<Promise<void>>();
  const closers = await Promise.all(
    tenants.map(async (tenant) => {
      const pool = new Pool({ ...connectionOptions(tenant.postgres, settings, 'bare'), max: poolSize(settings) });
      await pool.query(
        `CREATE TABLE IF NOT EXISTS bare_jobs (id text PRIMARY KEY, type text NOT NULL, body jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
         CREATE TABLE IF NOT EXISTS bare_results (id text PRIMARY KEY, result jsonb NOT NULL);
         CREATE TABLE IF NOT EXISTS bare_outbox (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, body jsonb NOT NULL)`,
      );
      const connection = await openVhost(tenant.rabbitmq);
      const channel = await connection.createConfirmChannel();
      await declareBareQueue(channel);
      await channel.prefetch(concurrency);
      await channel.consume(bareQueue, (message) => {
        if (!message) return;
        const work = handle(pool, channel, tenant, message, slots).finally(() => working.delete(work));
        working.add(work);
      });
      return async () => {
        await connection.close();
        await pool.end();
      };
    }),
  );
  return async () => {
    await Promise.all(working);
    // An acknowledgement whose connection closes at once may be lost, and its job come again.
    await delay(1000);
    await Promise.all(closers.map((close) => close()));
  };
}

export async function declareBareQueue(channel: ConfirmChannel): Promise<void> {
  await channel.assertQueue(bareQueue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
}

async function handle(
  pool: Pool,
  channel: ConfirmChannel,
  tenant: TenantConfig,
  message: ConsumeMessage,
  slots: Slots,
): Promise<void> {
  const release = await slots.acquire();
  const id = String(message.properties.messageId);
  const body = JSON.parse(message.content.toString());
  const event = { eventId: randomUUID(), eventType: 'bench.done', tenantId: tenant.tenantId, jobId: id, result: null };
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('INSERT INTO bare_jobs (id, type, body) VALUES ($1, $2, $3)', [
      id,
      message.properties.type,
      body,
    ]);
    await client.query('INSERT INTO bare_results (id, result) VALUES ($1, $2)', [id, 'null']);
    await client.query('INSERT INTO bare_outbox (event_id, body) VALUES ($1, $2)', [event.eventId, event]);
    await client.query('COMMIT');
  } finally {
    client.release();
  }
  await new Promise<void>((resolve, reject) => {
    const properties = { messageId: event.eventId, persistent: true };
    const content = Buffer.from(JSON.stringify(event));
    channel.publish(eventsExchange, event.eventType, content, properties, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  channel.ack(message);
  release();
}

function poolSize(settings: Settings): number {
  return settings.POSTGRES_MAX_OPEN_CONNS;
}
