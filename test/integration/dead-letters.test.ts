import { randomUUID } from 'node:crypto';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { type DeadLetter, republish } from '@matcher/shared/rabbitmq/dead-letter.ts';
import { readDeadLetters } from '@matcher/shared/rabbitmq/dead-letters.ts';
import { openVhost } from '@matcher/shared/rabbitmq/open-vhost.ts';
import { deathHeaders, retryHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, jobQueue, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { VhostConnection } from '@matcher/shared/rabbitmq/vhost-connection.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { ConfirmChannel, GetMessage, Options } from 'amqplib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { openVhost as connect } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;
/** What the tests look through, and what they put letters in and take them out with. */
let connection: VhostConnection;
let channel: ConfirmChannel;
let direct: Awaited<ReturnType<typeof connect>>;

const open = () =>
  openVhost(createTenantSource(fleet.settings), tenant.id, { name: 'dead-letters test', log: fleet.log });

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  tenant = await fleet.tenant();
  connection = await open();
  direct = await connect(tenant.config.rabbitmq);
  channel = await direct.createConfirmChannel();
});
afterAll(async () => {
  await connection?.close();
  await direct?.close();
  await fleet?.close();
});
beforeEach(async () => {
  for (const queue of [deadLetters, jobQueue('matching.run')]) await channel.purgeQueue(queue);
});

const death = (code: string, more: Record<string, unknown> = {}) => ({
  [deathHeaders.code]: code,
  [deathHeaders.reason]: 'what happened',
  [deathHeaders.attempt]: 3,
  [deathHeaders.at]: '2025-03-01T22:14:07.000Z',
  [deathHeaders.routingKey]: 'matching.run',
  ...more,
});

/** Puts letters among the dead, as a worker does. */
async function bury(ids: readonly string[], properties: Options.Publish = {}, content = '{"version":1}') {
  const headers = { [tenantHeader]: tenant.id as string, ...death('CONTEXT_NOT_FOUND'), ...properties.headers };
  for (const messageId of ids) {
    const own = { messageId, type: 'matching.run', persistent: true, ...properties, headers };
    channel.publish(deadLetters, 'matching.run', Buffer.from(content), own);
  }
  await channel.waitForConfirms();
}

const ids = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `job-${from + i}`);

async function readAll(through = connection): Promise<(string | null)[]> {
  return await readDeadLetters(through, async (letters) => {
    const found: (string | null)[] = [];
    for await (const { letter } of letters) found.push(letter.jobId);
    return found;
  });
}

async function takeOne(queue: string): Promise<GetMessage> {
  return await until(async () => (await channel.get(queue, { noAck: true })) || undefined);
}

async function readyIn(queue: string): Promise<number> {
  return (await channel.checkQueue(queue)).messageCount;
}

describe('reading', () => {
  test('a destructive read loses letters: here all are back in their order, as often as they are read', async () => {
    await bury(ids(25));
    for (let i = 0; i < 4; i++) expect(await readAll()).toEqual(ids(25));
  });

  test('sees all, each once and in order, however many more there are than a consumer is sent', async () => {
    await bury(ids(3500));
    expect(await readAll()).toEqual(ids(3500));
    expect(await readyIn(deadLetters)).toBe(3500);
  });

  test('ends early and in the middle of everything: what was not removed is all there', async () => {
    await bury(ids(30));
    const own = await open();
    const dying = readDeadLetters(own, async (letters) => {
      for await (const { letter } of letters) if (letter.jobId === 'job-10') await own.close();
    });
    await expect(dying).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
    const failing = readDeadLetters(connection, async (letters) => {
      for await (const { letter } of letters) if (letter.jobId === 'job-20') throw new Error('a bug');
    });
    await expect(failing).rejects.toThrow('a bug');
    await until(async () => (await readyIn(deadLetters)) === 30);
    expect((await readAll()).toSorted()).toEqual(ids(30).toSorted());
  });

  test('is not made endless by what arrives meanwhile', async () => {
    await bury(ids(10));
    let seen = 0;
    await readDeadLetters(connection, async (letters) => {
      for await (const _ of letters) await bury(ids(1, 100 + seen++));
    });
    expect(seen).toBe(10);
    await until(async () => (await readyIn(deadLetters)) === 20);
  });

  test('is not held up by a neighbour who takes what was counted', async () => {
    await bury(ids(2500));
    let [seen, taken] = [0, 0];
    await readDeadLetters(connection, async (letters) => {
      // The broker has sent a part; the neighbour takes the others.
      for await (const _ of letters) if (seen++ === 0) taken = (await channel.purgeQueue(deadLetters)).messageCount;
    });
    expect(taken).toBeGreaterThan(0);
    expect(seen + taken).toBe(2500);
  });

  test('what one holds, another does not see', async () => {
    await bury(ids(5));
    await readDeadLetters(connection, async (letters) => {
      let seen = 0;
      for await (const held of letters) {
        if (seen++ === 0) {
          await until(async () => (await readyIn(deadLetters)) === 0);
          expect(await readAll()).toEqual([]);
        }
        held.remove();
      }
      expect(seen).toBe(5);
    });
    expect(await readyIn(deadLetters)).toBe(0);
  });

  test('an empty queue, and one letter', async () => {
    expect(await readAll()).toEqual([]);
    await bury(['only']);
    expect(await readAll()).toEqual(['only']);
  });
});

describe('a letter', () => {
  const first = async () =>
    await readDeadLetters(connection, async (letters) => {
      for await (const { letter } of letters) return letter;
      throw new Error('there is none');
    });

  test('says why it is here, by the headers that a worker gave it', async () => {
    await bury(['a'], { headers: { [tenantHeader]: 'another' } });
    expect(await first()).toEqual({
      jobId: 'a',
      type: 'matching.run',
      routingKey: 'matching.run',
      tenantHeader: 'another',
      code: 'CONTEXT_NOT_FOUND',
      reason: 'what happened',
      attempt: 3,
      at: '2025-03-01T22:14:07.000Z',
      bytes: 13,
    } satisfies DeadLetter);
  });

  test('that the broker gave up says so by the broker’s own record', async () => {
    const headers = { [tenantHeader]: tenant.id as string };
    channel.publish(jobsExchange, 'matching.run', Buffer.from('{}'), { messageId: 'b', type: 'matching.run', headers });
    await channel.waitForConfirms();
    const taken = await until(async () => (await channel.get(jobQueue('matching.run'))) || undefined);
    channel.nack(taken, false, false);
    await until(() => readyIn(deadLetters));
    expect(await first()).toMatchObject({
      jobId: 'b',
      code: 'REJECTED',
      routingKey: 'matching.run',
      attempt: null,
      at: expect.stringMatching(/^20\d\d-.*Z$/),
    });
  });

  test('of which nothing can be told is one all the same', async () => {
    channel.publish(deadLetters, '', Buffer.from([0xff, 0]), {});
    await channel.waitForConfirms();
    expect(await first()).toMatchObject({ jobId: null, type: null, code: 'UNKNOWN', reason: null, at: null, bytes: 2 });
  });

  test('whose headers are of the wrong kinds is one all the same', async () => {
    const wrong = {
      [deathHeaders.code]: 7,
      [deathHeaders.attempt]: 'many',
      [deathHeaders.at]: true,
      'x-death': 'soon',
    };
    await bury(['c'], { headers: wrong });
    expect(await first()).toMatchObject({ jobId: 'c', code: 'UNKNOWN', attempt: null, at: null });
  });
});

describe('publishing one again', () => {
  const properties: Options.Publish = {
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    correlationId: 'order 7',
    replyTo: 'somewhere',
    timestamp: 1_740_000_000,
    appId: 'billing',
    headers: { 'X-Own': 'kept', 'X-Idempotency-Key': 'k1', [retryHeaders.code]: 'CONTEXT_BUSY', 'X-Held-Fence': '4' },
  };

  async function again(removed: boolean) {
    await readDeadLetters(connection, async (letters) => {
      for await (const held of letters) {
        await republish(connection, held.message);
        if (removed) held.remove();
      }
    });
  }

  test('gives it back as its publisher sent it, without what its way has added', async () => {
    const id = randomUUID();
    await bury([id], properties);
    await again(true);
    const { properties: own, content, fields } = await takeOne(jobQueue('matching.run'));
    expect(own).toMatchObject({
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      correlationId: 'order 7',
      replyTo: 'somewhere',
      timestamp: 1_740_000_000,
      appId: 'billing',
      messageId: id,
      type: 'matching.run',
      deliveryMode: 2,
      headers: { [tenantHeader]: tenant.id, 'X-Own': 'kept', 'X-Idempotency-Key': 'k1' },
    });
    // The broker counts the deliveries of each queue anew.
    const names = Object.keys(own.headers ?? {}).filter((name) => name !== 'x-delivery-count');
    expect(names.toSorted()).toEqual([tenantHeader, 'X-Own', 'X-Idempotency-Key'].toSorted());
    expect([String(content), fields.exchange, fields.routingKey]).toEqual([
      '{"version":1}',
      jobsExchange,
      'matching.run',
    ]);
    expect(await readyIn(deadLetters)).toBe(0);
  });

  test('and a crash before its removal leaves two of one id, never none', async () => {
    await bury(['twice']);
    await again(false);
    expect((await takeOne(jobQueue('matching.run'))).properties.messageId).toBe('twice');
    expect(await readAll()).toEqual(['twice']);
  });

  test('to where no queue takes it is an error, and it stays', async () => {
    await bury(['lost'], { headers: { [deathHeaders.routingKey]: 'nowhere' } });
    await expect(again(true)).rejects.toMatchObject({ code: 'UNROUTABLE' });
    expect(await readAll()).toEqual(['lost']);
  });
});
