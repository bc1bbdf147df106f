import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, delayExchange, delays, jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import type { Channel } from 'amqplib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;
let channel: Channel;
let disconnect: () => Promise<void>;

beforeEach(async () => {
  fleet = await startFleet({ workers: 0 });
  tenant = await fleet.tenant();
  const connection = await openVhost(tenant.config.rabbitmq);
  channel = await connection.createChannel();
  disconnect = () => connection.close();
});
afterEach(async () => {
  await disconnect?.();
  await fleet?.close();
});

const run = (context: string, id: string = randomUUID()) =>
  tenant.client.publish('matching.run', { version: 1, context }, { id });
const record = async (id: string) => (await tenant.query('SELECT * FROM jobs WHERE id = $1', [id]))[0];

test('a job that ends its process every time is a dead letter after the third, with the evidence; what was only waiting beside it keeps its count', async () => {
  const poison = await run('poison');
  const innocent = await tenant.client.publish('context.apply', { version: 1, context: simpleContext() });
  const names: string[] = [];
  for (let deaths = 1; deaths <= 3; deaths++) {
    const worker = await fleet.spawnWorker('scripted', { JOB_SLOTS: '1' });
    await once(worker, 'exit');
    names.push(String(worker.pid));
    expect(await record(poison)).toMatchObject({ state: 'RUNNING', deaths: deaths - 1 });
  }
  await fleet.spawnWorker('scripted', { JOB_SLOTS: '1' });
  expect(await tenant.client.follow(poison)).toMatchObject({ state: 'FAILED', error: { code: 'PROCESS_DIED' } });
  const { error } = await record(poison);
  expect(error.message).toContain(names.at(-1));
  const dead = await until(async () => (await channel.get(deadLetters)) || undefined);
  expect(dead.properties.messageId).toBe(poison);
  expect(dead.properties.headers).toMatchObject({ [deathHeaders.code]: 'PROCESS_DIED' });
  expect((await tenant.client.follow(innocent)).state).toBe('SUCCEEDED');
  expect(await record(innocent)).toMatchObject({ deaths: 0, attempt: 1 });
  // The next job is nobody's victim.
  expect((await tenant.client.follow(await run('harmless'))).state).toBe('SUCCEEDED');
});

test('a long job does not hold its message; when its process dies, the copy that comes back takes it up again', async () => {
  const worker = await fleet.spawnWorker('scripted');
  const id = await run('stand');
  // Neither waiting nor unacknowledged: it lies in a delay queue.
  await until(async () => {
    for (const seconds of delays) {
      const message = await channel.get(delayExchange(seconds));
      if (!message) continue;
      channel.nack(message);
      if (message.properties.messageId === id) return true;
    }
    return false;
  });
  expect(await record(id)).toMatchObject({ state: 'RUNNING', fence: '1' });
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  const next = await fleet.spawnWorker('scripted');
  await until(async () => (await record(id)).fence === '2');
  expect(await record(id)).toMatchObject({ state: 'RUNNING', attempt: 2, deaths: 1 });
  await tenant.query('INSERT INTO job_cancellations VALUES ($1)', [id]);
  expect((await tenant.client.follow(id)).state).toBe('CANCELLED');
  // The copy that still goes round finds it ended, and is gone.
  await until(async () => {
    const queues = [jobQueue('matching.run'), ...delays.map(delayExchange)];
    const counts = await Promise.all(queues.map(async (queue) => (await channel.checkQueue(queue)).messageCount));
    return counts.every((count) => count === 0);
  });
  next.kill('SIGTERM');
  await once(next, 'exit');
  expect(await channel.get(deadLetters)).toBe(false);
});
