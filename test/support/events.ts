import { eventSchemas } from '@matcher/shared/jobs/contracts/events.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { ConsumeMessage } from 'amqplib';
import { expect } from 'vitest';
import { type TestTenant, until } from './fleet.ts';
import { openVhost } from './tenant-manager.ts';

// biome-ignore lint/suspicious/noExplicitAny: events as they were sent; the tests know what they expect
type Event = Record<string, any>;

export interface HeardEvents {
  /** Those of a job whose end was announced, in their order; each is as its contract says. */
  of(jobId: string): Promise<Event[]>;
  close(): Promise<void>;
}

/** Hears all events of a tenant from now on. */
export async function hearEvents(tenant: TestTenant): Promise<HeardEvents> {
  const connection = await openVhost(tenant.config.rabbitmq);
  const channel = await connection.createChannel();
  const heard: Event[] = [];
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, eventsExchange, '#');
  const hear = (message: ConsumeMessage | null) => message && heard.push(JSON.parse(message.content.toString()));
  await channel.consume(queue, hear, { noAck: true });
  return {
    async of(jobId) {
      const own = () => heard.filter((event) => event.jobId === jobId && event.eventType !== 'job.progress');
      // The end comes last.
      await until(() => own().some(({ result, error }) => result !== undefined || error !== undefined));
      const schemas = eventSchemas();
      for (const event of own()) expect(schemas[event.eventType]?.safeParse(event).error).toBeUndefined();
      return own();
    },
    close: () => connection.close(),
  };
}
