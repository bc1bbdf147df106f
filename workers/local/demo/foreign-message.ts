import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { connect } from 'amqplib';

const patience = 15_000;

/**
 * Publishes a matching job into one tenant's vhost that claims to be another tenant's, and waits for what becomes of it.
 *
 * @returns the code with which it was put among the dead letters.
 * @throws Error when it does not get there.
 */
export async function publishForeignMessage(
  environment: Record<string, string>,
  owner: string,
  claimed: string,
  context: string,
  signal: AbortSignal,
): Promise<string> {
  const settings = loadSettings('publisher', { ...process.env, ...environment });
  const { rabbitmq } = await createTenantSource(settings).config(canonicalTenantId(owner));
  const { host, port, vhost, user, password } = rabbitmq;
  const connection = await connect({ hostname: host, port, vhost, username: user, password });
  try {
    const channel = await connection.createConfirmChannel();
    const messageId = randomUUID();
    channel.publish(jobsExchange, 'matching.run', Buffer.from(JSON.stringify({ version: 1, context })), {
      messageId,
      type: 'matching.run',
      contentType: 'application/json',
      headers: { [tenantHeader]: claimed },
      mandatory: true,
    });
    await channel.waitForConfirms();
    for (const deadline = Date.now() + patience; Date.now() < deadline; ) {
      signal.throwIfAborted();
      const dead = await channel.get(deadLetters);
      if (!dead) {
        await delay(50);
        continue;
      }
      const { headers, messageId: id } = dead.properties;
      // Looking at it takes nothing away: it stays there for whoever operates the tenant.
      channel.nack(dead, false, true);
      if (id === messageId) return String(headers?.[deathHeaders.code]);
      await delay(50);
    }
    throw new Error('the message that claims the wrong tenant did not reach the dead letters');
  } finally {
    await connection.close();
  }
}
