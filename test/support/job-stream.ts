import { randomUUID } from 'node:crypto';
import { errorCode } from '@matcher/shared/errors.ts';
import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import { completionEvents } from '@matcher/shared/jobs/contracts/events.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { JobEnd } from '@matcher/shared/jobs/follow.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { expect } from 'vitest';
import { csv, simpleContext } from './contexts.ts';
import { type TestTenant, until } from './fleet.ts';
import { openVhost } from './tenant-manager.ts';

/** Jobs of one tenant without a break: files that are loaded and matched, and contexts that are applied meanwhile. */
export interface JobStream {
  /** Returns when so many more jobs have ended. */
  more(count: number): Promise<void>;
  /**
   * Begins no further round, waits for the end of all that was published, and expects that every job has succeeded, is told of by one event and
   * has left its data once.
   *
   * @returns attempts that were charged beyond each job's first.
   */
  audit(): Promise<number>;
}

const pairsPerRound = 10;
const ofCompletion = new Set<string>(Object.values(completionEvents).map(({ completed }) => completed));

/** @param query for a tenant whose credentials don't stay as they were. */
export async function startJobStream(tenant: TestTenant, query = tenant.query): Promise<JobStream> {
  const ends = new Map<string, JobEnd>();
  const published = new Set<string>();
  const told = new Map<string, string[]>();
  let pairs = 0;
  let stopped = false;

  // Its connection is the test's own, which stays open whatever becomes of its credentials.
  const connection = await openVhost(tenant.config.rabbitmq);
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, eventsExchange, '#');
  await channel.consume(
    queue,
    (message) => {
      const { eventType, eventId, jobId } = JSON.parse(String(message?.content));
      if (ofCompletion.has(eventType)) told.set(jobId, [...(told.get(jobId) ?? []), eventId]);
    },
    { noAck: true },
  );

  async function done<T extends JobType>(type: T, body: JobBodyInput<T>): Promise<void> {
    const id = randomUUID();
    published.add(id);
    await publish(type, body, id);
    ends.set(id, await tenant.client.follow(id));
  }

  /** As a publisher has to: what was not confirmed is published again, under the same id. */
  async function publish<T extends JobType>(type: T, body: JobBodyInput<T>, id: string): Promise<void> {
    for (;;) {
      try {
        await tenant.client.publish(type, body, { id });
        return;
      } catch (error) {
        if (!['NOT_CONFIRMED', 'BROKER_UNAVAILABLE'].includes(errorCode(error))) throw error;
      }
    }
  }

  async function loadFile(source: 'ledger' | 'statement', prefix: string, from: number): Promise<void> {
    const lines = Array.from({ length: pairsPerRound }, (_, i) => from + i).map((n) => ({
      id: `${prefix}${n}`,
      amount: `${n}.10`,
      ref: `R${n}`,
    }));
    const objectKey = `uploads/${randomUUID()}`;
    await tenant.objects.put(objectKey, csv(lines));
    await done('ingestion.run', { version: 1, context: 'bank', source, objectKey, format: 'CSV' });
  }

  async function loadAndMatch(): Promise<void> {
    for (let from = 1; !stopped; from += pairsPerRound) {
      await Promise.all([loadFile('ledger', 'l', from), loadFile('statement', 'r', from)]);
      await done('matching.run', { version: 1, context: 'bank' });
      pairs += pairsPerRound;
    }
  }

  async function apply(): Promise<void> {
    while (!stopped) await done('context.apply', { version: 1, context: simpleContext({ name: 'other' }) });
  }

  await done('context.apply', { version: 1, context: simpleContext() });
  let over = false;
  const lanes = Promise.all([loadAndMatch(), apply()]);
  lanes.catch(() => (over = true));
  return {
    async more(count) {
      const enough = ends.size + count;
      await until(() => ends.size >= enough || over);
      if (over) await lanes;
    },
    async audit() {
      stopped = true;
      await lanes;
      await until(() => [...published].every((id) => told.has(id)));
      await connection.close();
      expect([...ends].filter(([, { state }]) => state !== 'SUCCEEDED')).toEqual([]);
      const records = await query('SELECT id, attempt FROM jobs WHERE state = $1', ['SUCCEEDED']);
      expect(new Set(records.map(({ id }) => id))).toEqual(published);
      // What is sent twice has the same id twice.
      expect([...told].filter(([, eventIds]) => new Set(eventIds).size !== 1)).toEqual([]);
      for (const table of ['transactions', 'match_items']) {
        expect(await query(`SELECT count(*)::int AS rows FROM ${table}`)).toEqual([{ rows: 2 * pairs }]);
      }
      return records.reduce((extra, { attempt }) => extra + attempt - 1, 0);
    },
  };
}
