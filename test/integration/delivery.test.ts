import { randomUUID } from 'node:crypto';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, jobQueue, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { ConfirmChannel, GetMessage, Options } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { csv, load, loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;
let other: TestTenant;
let channel: ConfirmChannel;
let disconnect: () => Promise<void>;

beforeAll(async () => {
  fleet = await startFleet();
  [tenant, other] = await Promise.all([fleet.tenant(), fleet.tenant()]);
  await Promise.all(
    [tenant, other].map((each) => each.done('context.apply', { version: 1, context: simpleContext() })),
  );
  const connection = await openVhost(tenant.config.rabbitmq);
  channel = await connection.createConfirmChannel();
  disconnect = () => connection.close();
});

afterAll(async () => {
  await disconnect?.();
  await fleet?.close();
});

/** Publishes to the tenant's matching queue whatever one likes, and gives the message as it lies among the dead letters. */
async function bury(content: string | Buffer, properties: Options.Publish): Promise<GetMessage> {
  const marker = randomUUID();
  channel.publish(jobsExchange, 'matching.run', Buffer.from(content), { correlationId: marker, ...properties });
  await channel.waitForConfirms();
  return await until(async () => {
    const message = await channel.get(deadLetters);
    if (!message) return undefined;
    channel.ack(message);
    return message.properties.correlationId === marker ? message : undefined;
  });
}

const valid = () => ({
  messageId: randomUUID(),
  type: 'matching.run',
  headers: { [tenantHeader]: tenant.id as string },
});
const body = JSON.stringify({ version: 1, context: 'bank' });

describe('a message that is no job of this tenant goes to the dead letters with its reason', () => {
  const cases: [string, string, () => Parameters<typeof bury>][] = [
    ['no X-Tenant-ID', 'TENANT_MISSING', () => [body, { ...valid(), headers: {} }]],
    [
      'another tenant’s X-Tenant-ID',
      'TENANT_MISMATCH',
      () => [body, { ...valid(), headers: { [tenantHeader]: other.id } }],
    ],
    [
      'an X-Tenant-ID that is no identifier',
      'TENANT_MISMATCH',
      () => [body, { ...valid(), headers: { [tenantHeader]: `urn:uuid:${tenant.id}` } }],
    ],
    ['an X-Tenant-ID that is no text', 'TENANT_MISMATCH', () => [body, { ...valid(), headers: { [tenantHeader]: 7 } }]],
    ['a body that is not JSON', 'BODY_UNREADABLE', () => ['{"version":1', valid()]],
    ['a body that is not UTF-8', 'BODY_UNREADABLE', () => [Buffer.from([0x7b, 0xff, 0x7d]), valid()]],
    ['an empty body', 'BODY_UNREADABLE', () => ['', valid()]],
    ['a body of null', 'BODY_VERSION_UNKNOWN', () => ['null', valid()]],
    [
      'a version of the future',
      'BODY_VERSION_UNKNOWN',
      () => [JSON.stringify({ version: 2, context: 'bank' }), valid()],
    ],
    ['a body that lacks a field', 'BODY_INVALID', () => [JSON.stringify({ version: 1 }), valid()]],
    [
      'a body with a field too many',
      'BODY_INVALID',
      () => [JSON.stringify({ version: 1, context: 'bank', tenant: other.id }), valid()],
    ],
    ['a body of two megabytes', 'BODY_TOO_LARGE', () => [`"${'x'.repeat(2 ** 21)}"`, valid()]],
    ['a type that is not its queue’s', 'JOB_TYPE_UNKNOWN', () => [body, { ...valid(), type: 'export.run' }]],
    ['no message id', 'JOB_ID_INVALID', () => [body, { type: 'matching.run', headers: { [tenantHeader]: tenant.id } }]],
    ['a message id that is a path', 'JOB_ID_INVALID', () => [body, { ...valid(), messageId: '../../etc' }]],
  ];

  test.each(cases)('%s: %s', async (_what, code, message) => {
    const [content, properties] = message();
    const dead = await bury(content, properties);
    expect(dead.properties.headers).toMatchObject({ [deathHeaders.code]: code, [deathHeaders.attempt]: 0 });
    expect(dead.properties.headers?.[deathHeaders.reason]).toBeTypeOf('string');
    expect(dead.content).toEqual(Buffer.from(content));
    expect(dead.properties.messageId ?? '').toBe(properties.messageId ?? '');
  });

  test('also when its own headers leave no room for the reason', async () => {
    const headers = { [tenantHeader]: other.id, 'X-Much': 'x'.repeat(65_400) };
    const dead = await bury(body, { ...valid(), headers });
    expect(dead.properties.headers).toMatchObject({ [deathHeaders.code]: 'TENANT_MISMATCH', [tenantHeader]: other.id });
  });

  test('and changes nothing: no record of it in either tenant’s database', async () => {
    const properties = valid();
    await bury(body, { ...properties, headers: { [tenantHeader]: other.id } });
    for (const each of [tenant, other]) {
      expect(await each.query('SELECT 1 FROM jobs WHERE id = $1', [properties.messageId])).toEqual([]);
    }
  });

  test('while both spellings of a tenant’s UUID are that tenant', async () => {
    const { messageId, ...properties } = valid();
    const dashed = tenant.id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5').toUpperCase();
    expect(dashed).toHaveLength(36);
    const headers = { [tenantHeader]: dashed };
    channel.publish(jobsExchange, 'matching.run', Buffer.from(body), { ...properties, messageId, headers });
    expect(await tenant.client.follow(messageId)).toMatchObject({ state: 'SUCCEEDED' });
  });
});

describe('a job', () => {
  test('that came through the default exchange comes back, too, when it has to wait', async () => {
    const own = await fleet.tenant();
    await own.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(own, 3);
    const connection = await openVhost(own.config.rabbitmq);
    const direct = await connection.createConfirmChannel();
    const held = await own.hold('match_groups');
    const first = await own.client.publish('matching.run', { version: 1, context: 'bank' });
    await until(held.waiting);
    // The context is busy: this one is put off at least once.
    const messageId = randomUUID();
    const headers = { [tenantHeader]: own.id as string };
    direct.sendToQueue(jobQueue('matching.run'), Buffer.from(body), { messageId, type: 'matching.run', headers });
    await direct.waitForConfirms();
    await until(() => fleet.lines.some((line) => line.includes(messageId) && line.includes('CONTEXT_BUSY')));
    await held.release();
    expect(await own.client.follow(first)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 3 } });
    expect(await own.client.follow(messageId)).toMatchObject({ state: 'SUCCEEDED' });
    await connection.close();
  });

  test('that is delivered again after it was finished is acknowledged and not run again', async () => {
    const id = randomUUID();
    await loadPairs(tenant, 3);
    expect(await tenant.done('matching.run', { version: 1, context: 'bank' }, id)).toMatchObject({ matched: 3 });
    await loadPairs(tenant, 2, 100);
    await tenant.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
    await until(async () => (await channel.checkQueue(jobQueue('matching.run'))).messageCount === 0);
    // A later job of the same queue is done: the repeated one before it has been dealt with.
    expect(await tenant.done('matching.run', { version: 1, context: 'bank' })).toMatchObject({ matched: 2 });
    const [record] = await tenant.query('SELECT state, attempt, result FROM jobs WHERE id = $1', [id]);
    expect(record).toMatchObject({ state: 'SUCCEEDED', attempt: 1, result: { matched: 3 } });
  });

  test('whose id was used for something else is refused, and the first one stays as it is', async () => {
    const id = randomUUID();
    await tenant.done('matching.run', { version: 1, context: 'bank' }, id);
    const dead = await bury(JSON.stringify({ version: 1, context: 'elsewhere' }), { ...valid(), messageId: id });
    expect(dead.properties.headers).toMatchObject({ [deathHeaders.code]: 'JOB_ID_REUSED' });
    expect(await tenant.query('SELECT state FROM jobs WHERE id = $1', [id])).toEqual([{ state: 'SUCCEEDED' }]);
  });

  test('that fails for good is recorded, announced and a dead letter', async () => {
    const id = randomUUID();
    const end = await tenant.run('matching.run', { version: 1, context: 'nowhere' }, id);
    expect(end).toMatchObject({ state: 'FAILED', error: { code: 'CONTEXT_NOT_FOUND' } });
    const dead = await until(async () => {
      const message = await channel.get(deadLetters);
      if (message) channel.ack(message);
      return message && message.properties.messageId === id ? message : undefined;
    });
    expect(dead.properties.headers).toMatchObject({
      [deathHeaders.code]: 'CONTEXT_NOT_FOUND',
      [deathHeaders.attempt]: 1,
    });
    expect(await tenant.query('SELECT state, attempt FROM jobs WHERE id = $1', [id])).toEqual([
      { state: 'FAILED', attempt: 1 },
    ]);
  });

  test('leaves no event behind in the outbox once it is done', async () => {
    await tenant.done('matching.run', { version: 1, context: 'bank' });
    await until(async () => (await tenant.query('SELECT 1 FROM outbox')).length === 0);
  });
});

test('two runs on one context at once follow each other: together they match everything, and nothing twice', async () => {
  const pairs = 400;
  const own = await fleet.tenant();
  await own.done('context.apply', { version: 1, context: simpleContext() });
  await loadPairs(own, pairs);
  const results = await Promise.all([1, 2, 3, 4].map(() => own.done('matching.run', { version: 1, context: 'bank' })));
  expect(results.map(({ matched }) => matched).toSorted((a, b) => b - a)).toEqual([pairs, 0, 0, 0]);
  expect(
    await own.query('SELECT count(*)::int AS items, count(DISTINCT transaction_id)::int AS matched FROM match_items'),
  ).toEqual([{ items: 2 * pairs, matched: 2 * pairs }]);
});

test('the database itself refuses a transaction in two live groups', async () => {
  const [item] = await tenant.query('SELECT transaction_id FROM match_items LIMIT 1');
  const second = tenant.query(`INSERT INTO match_items VALUES ($1, 1, 'L', 1)`, [item.transaction_id]);
  await expect(second).rejects.toMatchObject({ code: '23505' });
});

test('a tenant’s jobs touch nothing of another’s', async () => {
  await load(other, 'ledger', csv([{ id: 'only-here', amount: '1.00', ref: 'X' }]));
  expect(await tenant.query(`SELECT 1 FROM transactions WHERE external_id = 'only-here'`)).toEqual([]);
  expect(await other.query('SELECT 1 FROM match_items')).toEqual([]);
});
