import { randomUUID } from 'node:crypto';
import { idempotencyHeader, jobProperties } from '@matcher/shared/jobs/message.ts';
import { deathHeaders, retryHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, delayExchange, delays, eventsExchange, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { ConfirmChannel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { Gate, scriptedJob, untilAborted } from '../support/scripted-job.ts';
import { openVhost } from '../support/tenant-manager.ts';

const body = { version: 1, context: 'bank' } as const;
const gate = new Gate();
let fleet: TestFleet;
let tenant: TestTenant;
let channel: ConfirmChannel;
let disconnect: () => Promise<void>;
/** What a job does, by its id; others end at once. */
const scripts = new Map<string, Parameters<typeof scriptedJob>[0]>();

beforeAll(async () => {
  fleet = await startFleet({ workers: 0, overrides: { JOB_DEADLINES: 'matching.run=2', JOB_PATIENCE_HOURS: '1' } });
  await fleet.worker({ JOB_SLOTS: '6' }, undefined, [
    scriptedJob(async (job, scope) => await scripts.get(job.id)?.(job, scope)),
  ]);
  tenant = await fleet.tenant();
  const connection = await openVhost(tenant.config.rabbitmq);
  channel = await connection.createConfirmChannel();
  disconnect = () => connection.close();
  await tenant.run('matching.run', body);
});
afterAll(async () => {
  await disconnect?.();
  await fleet?.close();
});

/** Publishes a job that does something, and gives its id. */
async function begin(run: Parameters<typeof scriptedJob>[0], id: string = randomUUID()): Promise<string> {
  scripts.set(id, run);
  return await tenant.client.publish('matching.run', body, { id });
}
const record = async (id: string) => (await tenant.query('SELECT * FROM jobs WHERE id = $1', [id]))[0];
const cancel = (id: string) => tenant.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [id]);
async function deadLetter(id: string) {
  return await until(async () => {
    const message = await channel.get(deadLetters);
    if (message) channel.ack(message);
    return message && message.properties.messageId === id ? message.properties.headers : undefined;
  });
}
/** Events of a job from now on, by type. */
async function listen(id: string): Promise<string[]> {
  const heard: string[] = [];
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, eventsExchange, '#');
  await channel.consume(queue, (message) => {
    if (message && JSON.parse(message.content.toString()).jobId === id) heard.push(message.fields.routingKey);
  });
  return heard;
}

describe('a cancelled job', () => {
  test('that runs is ended within about a second, and nothing of it is kept but its record and its event', async () => {
    const ended = Promise.withResolvers<unknown>();
    const id = randomUUID();
    const heard = await listen(id);
    await begin(async (job, scope) => {
      await gate.pass(job, scope).catch((error) => {
        ended.resolve(error);
        throw error;
      });
    }, id);
    await until(() => gate.came.includes(id));
    await cancel(id);
    expect(await ended.promise).toMatchObject({ code: 'JOB_CANCELLED' });
    await until(() => heard.length > 0);
    expect(heard).toEqual(['job.cancelled']);
    expect(await record(id)).toMatchObject({ state: 'CANCELLED', attempt: 1, result: null, error: null });
  });

  test('that no worker has begun is never begun', async () => {
    const id = randomUUID();
    await cancel(id);
    let ran = false;
    await begin(async () => {
      ran = true;
    }, id);
    await until(async () => (await record(id))?.state === 'CANCELLED');
    expect(ran).toBe(false);
  });

  test('that is done stays as it is', async () => {
    const id = await begin(async () => ({ matched: 1 }));
    await tenant.client.follow(id);
    await cancel(id);
    await tenant.client.publish('matching.run', body, { id });
    await tenant.run('matching.run', body);
    expect(await record(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 1 } });
  });

  test('whose work ends in the same moment is one or the other, in its record and its event alike', async () => {
    for (let i = 0; i < 5; i++) {
      const id = randomUUID();
      const heard = await listen(id);
      await begin(async (job, scope) => {
        await scope.db.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [job.id]);
        await new Promise((go) => setTimeout(go, 100 * i));
      }, id);
      await until(() => heard.length > 0);
      const { state } = await record(id);
      expect(heard).toEqual([state === 'CANCELLED' ? 'job.cancelled' : 'matching.run_completed']);
    }
  });
});

describe('a job’s idempotency key', () => {
  const send = async (id: string, key: unknown) => {
    const properties = jobProperties(id, 'matching.run', tenant.id);
    const headers = { ...properties.headers, [idempotencyHeader]: key };
    channel.publish(jobsExchange, 'matching.run', Buffer.from(JSON.stringify(body)), { ...properties, headers });
    await channel.waitForConfirms();
    return id;
  };

  test('makes every later job of its type with the same one its duplicate, which is not done', async () => {
    const key = randomUUID();
    const original = await send(randomUUID(), key);
    expect((await tenant.client.follow(original)).state).toBe('SUCCEEDED');
    let ran = false;
    const repeated = randomUUID();
    scripts.set(repeated, async () => {
      ran = true;
    });
    await send(repeated, key);
    await until(async () => (await record(repeated))?.state === 'DUPLICATE');
    expect(await record(repeated)).toMatchObject({ duplicate_of: original, attempt: 0 });
    expect(ran).toBe(false);
    // The same job once more is the same job, not its own duplicate.
    await send(original, key);
    await tenant.run('matching.run', body);
    expect(await record(original)).toMatchObject({ state: 'SUCCEEDED', attempt: 1 });
  });

  test('of two jobs at once lets one of them be done', async () => {
    const key = randomUUID();
    const ids = await Promise.all([1, 2, 3, 4].map(() => send(randomUUID(), key)));
    const states = await until(async () => {
      const found = await Promise.all(ids.map(async (id) => (await record(id))?.state));
      return found.every((state) => state === 'SUCCEEDED' || state === 'DUPLICATE') ? found : undefined;
    });
    expect(states.toSorted()).toEqual(['DUPLICATE', 'DUPLICATE', 'DUPLICATE', 'SUCCEEDED']);
  });

  test('is forgotten after its time', async () => {
    const key = randomUUID();
    const first = await send(randomUUID(), key);
    await tenant.client.follow(first);
    await tenant.query(`UPDATE jobs SET created_at = now() - interval '169 hours' WHERE id = $1`, [first]);
    const second = await send(randomUUID(), key);
    expect((await tenant.client.follow(second)).state).toBe('SUCCEEDED');
  });

  test('that is malformed makes a dead letter', async () => {
    for (const key of ['', 'two words', 7, 'x'.repeat(256)]) {
      const id = await send(randomUUID(), key);
      expect(await deadLetter(id)).toMatchObject({ [deathHeaders.code]: 'IDEMPOTENCY_KEY_INVALID' });
    }
  });
});

test('an attempt that takes longer than its type may is ended and fails', async () => {
  const id = await begin(({ signal }) => untilAborted(signal));
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'FAILED', error: { code: 'JOB_DEADLINE_EXCEEDED' } });
  expect(await deadLetter(id)).toMatchObject({ [deathHeaders.code]: 'JOB_DEADLINE_EXCEEDED' });
});

describe('a job that something is away for', () => {
  const away = () => Promise.reject(Object.assign(new Error('no'), { code: 'ECONNREFUSED' }));

  test('is put off without an attempt being charged, and says why in its headers', async () => {
    let attempts = 0;
    const id = await begin(async () => {
      if (attempts++ < 1) await away();
    });
    const waiting = await until(async () => {
      for (const seconds of delays) {
        const message = await channel.get(delayExchange(seconds));
        if (!message) continue;
        channel.nack(message);
        if (message.properties.messageId === id) return message;
      }
      return undefined;
    });
    expect(waiting.properties.headers).toMatchObject({
      [retryHeaders.code]: 'ECONNREFUSED',
      [retryHeaders.attempt]: 1,
    });
    expect((await tenant.client.follow(id)).state).toBe('SUCCEEDED');
    expect(await record(id)).toMatchObject({ attempt: 1, deaths: 0 });
  });

  test('fails when it has been put off for longer than it is waited', async () => {
    let attempts = 0;
    const id = await begin(async (job, scope) => {
      attempts++;
      await scope.db.query(`UPDATE jobs SET created_at = now() - interval '2 hours' WHERE id = $1`, [job.id]);
      await away();
    });
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'FAILED', error: { code: 'ECONNREFUSED' } });
    expect(attempts).toBe(2);
  });
});
