import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { remedyFor } from '@matcher/shared/errors.ts';
import { completionEvents } from '@matcher/shared/jobs/contracts/events.ts';
import { deadLetters, eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { Channel, ConsumeMessage } from 'amqplib';
import { expect } from 'vitest';
import { simpleContext } from './contexts.ts';
import { type TestTenant, until } from './fleet.ts';
import { openVhost } from './tenant-manager.ts';

/** Small jobs of one tenant, one after the other in each of some lanes: whatever strikes, it is in the middle of some. */
export interface SteadyJobs {
  /** Jobs that have ended well. */
  readonly done: number;
  /** Waits until so many more have ended well. */
  more(count: number): Promise<void>;
  /**
   * Publishes no more, waits for the end of all, and looks whether each had its effect exactly once: in the job's record, in the data (every
   * application of a context counts its revision up) and in the events that went out.
   *
   * @returns attempts that were charged, by the records, beyond one a job.
   */
  audit(): Promise<number>;
}

/** Keeps every event until the audit, whatever becomes of connections and brokers meanwhile. */
const recorder = 'test.events';

export async function startSteadyJobs(tenant: TestTenant, { lanes = 2 } = {}): Promise<SteadyJobs> {
  await withChannel(tenant, async (channel) => {
    await channel.assertQueue(recorder, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    await channel.bindQueue(recorder, eventsExchange, '#');
  });
  const published = new Map<string, string[]>();
  let done = 0;
  let ending = false;
  let failure: unknown;

  async function lane(context: string): Promise<void> {
    const ids: string[] = [];
    published.set(context, ids);
    while (!ending) {
      const id = randomUUID();
      ids.push(id);
      await publish(context, id);
      expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
      done++;
    }
  }

  /** As a publisher should: what is not confirmed is published again under the same id. */
  async function publish(context: string, id: string): Promise<void> {
    for (;;) {
      try {
        await tenant.client.publish('context.apply', { version: 1, context: simpleContext({ name: context }) }, { id });
        return;
      } catch (error) {
        if (remedyFor(error) !== 'not-now') throw error;
        await delay(100);
      }
    }
  }

  const running = Promise.all(Array.from({ length: lanes }, (_, i) => lane(`lane-${i}`))).catch((error) => {
    failure = error;
  });

  return {
    get done() {
      return done;
    },
    async more(count) {
      const enough = done + count;
      await until(() => failure !== undefined || done >= enough);
      if (failure !== undefined) throw failure;
    },
    async audit() {
      ending = true;
      await running;
      if (failure !== undefined) throw failure;
      const ids = [...published.values()].flat();
      const records = await tenant.query('SELECT id, state, attempt FROM jobs WHERE id = ANY($1)', [ids]);
      expect(new Map(records.map(({ id, state }) => [id, state]))).toEqual(new Map(ids.map((id) => [id, 'SUCCEEDED'])));
      const names = [...published.keys()];
      const contexts = await tenant.query('SELECT name, revision FROM contexts WHERE name = ANY($1)', [names]);
      expect(new Map(contexts.map(({ name, revision }) => [name, revision]))).toEqual(
        new Map([...published].map(([name, { length }]) => [name, length])),
      );
      await auditEvents(tenant, ids);
      return records.reduce((extra, { attempt }) => extra + attempt - 1, 0);
    },
  };
}

/** Each of the jobs has told its end by one event (which may have been sent twice), and nothing is among the dead letters. */
async function auditEvents(tenant: TestTenant, ids: string[]): Promise<void> {
  await until(async () => (await tenant.query('SELECT FROM outbox')).length === 0);
  await withChannel(tenant, async (channel) => {
    const ends = new Map(ids.map((id) => [id, new Set<string>()]));
    let waiting = (await channel.checkQueue(recorder)).messageCount;
    const hear = (message: ConsumeMessage | null) => {
      waiting--;
      const { eventId, eventType, jobId } = JSON.parse(String(message?.content));
      if (eventType === completionEvents['context.apply'].completed) ends.get(jobId)?.add(eventId);
    };
    await channel.consume(recorder, hear, { noAck: true });
    await until(() => waiting <= 0);
    expect([...ends].filter(([, events]) => events.size !== 1)).toEqual([]);
    expect((await channel.checkQueue(deadLetters)).messageCount).toBe(0);
  });
}

async function withChannel(tenant: TestTenant, work: (channel: Channel) => Promise<void>): Promise<void> {
  const connection = await openVhost(tenant.config.rabbitmq);
  try {
    await work(await connection.createChannel());
  } finally {
    await connection.close();
  }
}
