import { randomUUID } from 'node:crypto';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, jobQueue, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { ConfirmChannel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';

/** What somebody who can publish into one tenant's vhost can make of the message's headers. */

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

const body = Buffer.from(JSON.stringify({ version: 1, context: 'bank' }));
const dashed = (id: string) => id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

async function publish(headers: Record<string, unknown>): Promise<string> {
  const messageId = randomUUID();
  channel.publish(jobsExchange, 'matching.run', body, { messageId, type: 'matching.run', headers });
  await channel.waitForConfirms();
  return messageId;
}

async function deathOf(messageId: string): Promise<unknown> {
  const dead = await until(async () => {
    const message = await channel.get(deadLetters);
    if (message) channel.ack(message);
    return message && message.properties.messageId === messageId ? message : undefined;
  });
  return dead.properties.headers?.[deathHeaders.code];
}

describe('X-Tenant-ID of another tenant, in whatever form, is a dead letter and no job of anybody', () => {
  const forms: [string, () => unknown, string][] = [
    ['its identifier', () => other.id, 'TENANT_MISMATCH'],
    ['its UUID with dashes', () => dashed(other.id), 'TENANT_MISMATCH'],
    ['urn:uuid:, of the very tenant', () => `urn:uuid:${dashed(tenant.id)}`, 'TENANT_MISMATCH'],
    ['braces, of the very tenant', () => `{${dashed(tenant.id)}}`, 'TENANT_MISMATCH'],
    ['bytes', () => Buffer.from(other.id), 'TENANT_MISMATCH'],
    ['bytes of the very tenant', () => Buffer.from(tenant.id), 'TENANT_MISMATCH'],
    ['a number', () => 7, 'TENANT_MISMATCH'],
    ['true', () => true, 'TENANT_MISMATCH'],
    ['a list of both', () => [tenant.id, other.id], 'TENANT_MISMATCH'],
    ['a table', () => ({ id: tenant.id }), 'TENANT_MISMATCH'],
    ['both, with a comma', () => `${tenant.id},${other.id}`, 'TENANT_MISMATCH'],
    ['a blank after it', () => `${tenant.id} `, 'TENANT_MISMATCH'],
    ['a line end after it', () => `${tenant.id}\n`, 'TENANT_MISMATCH'],
    ['a NUL after it', () => `${tenant.id}\0${other.id}`, 'TENANT_MISMATCH'],
    ['digits of another script', () => tenant.id.replaceAll(/[0-9]/g, '٠'), 'TENANT_MISMATCH'],
    ['an empty text', () => '', 'TENANT_MISSING'],
    ['nothing', () => null, 'TENANT_MISSING'],
  ];
  test.each(forms)('%s', async (_what, value, code) => {
    const messageId = await publish({ [tenantHeader]: value() });
    expect(await deathOf(messageId)).toBe(code);
    for (const each of [tenant, other]) {
      expect(await each.query('SELECT 1 FROM jobs WHERE id = $1', [messageId])).toEqual([]);
    }
  });

  test('in the header’s name only, written in lower case', async () => {
    expect(await deathOf(await publish({ 'x-tenant-id': tenant.id }))).toBe('TENANT_MISSING');
  });

  test('twice in one message, once of each tenant', async () => {
    const restore = duplicatingHeaders();
    const messageId = await publish({ [tenantHeader]: tenant.id, [placeholder]: other.id });
    restore();
    expect(await deathOf(messageId)).toBe('TENANT_MISMATCH');
    expect(await other.query('SELECT 1 FROM jobs WHERE id = $1', [messageId])).toEqual([]);
  });
});

/** As long as the header's own name, and made into it on the wire: a client's table can't hold one name twice. */
const placeholder = 'X-Tenant-IX';

function duplicatingHeaders(): () => void {
  const { stream } = channel.connection as unknown as { stream: { write(chunk: Buffer): boolean } };
  const write = stream.write.bind(stream);
  stream.write = (chunk) => {
    const at = chunk.indexOf(placeholder);
    if (at >= 0) chunk.write(tenantHeader, at);
    return write(chunk);
  };
  return () => {
    stream.write = write;
  };
}

test.each<[string, (id: string) => string]>([
  ['without dashes', (id) => id],
  ['with dashes', dashed],
  ['in upper case', (id) => id.toUpperCase()],
  ['with dashes in upper case', (id) => dashed(id).toUpperCase()],
])('the tenant’s own UUID is one tenant, not four: %s', async (_what, spelling) => {
  const messageId = await publish({ [tenantHeader]: spelling(tenant.id) });
  expect(await tenant.client.follow(messageId)).toMatchObject({ state: 'SUCCEEDED' });
  expect((await tenant.query('SELECT state FROM jobs WHERE id = $1', [messageId]))[0]).toEqual({ state: 'SUCCEEDED' });
});

test('what is published into one vhost under another’s names does not arrive there', async () => {
  const connection = await openVhost(other.config.rabbitmq);
  const foreign = await connection.createChannel();
  await channel.checkQueue(jobQueue('matching.run'));
  const messageId = await publish({ [tenantHeader]: other.id });
  await deathOf(messageId);
  expect((await foreign.checkQueue(deadLetters)).messageCount).toBe(0);
  expect(await other.query('SELECT 1 FROM jobs WHERE id = $1', [messageId])).toEqual([]);
  await connection.close();
});

describe('the tenant’s broker user', () => {
  test.each(['the other tenant’s', '/'])('cannot open another vhost: %s', async (which) => {
    const vhost = which === '/' ? which : other.config.rabbitmq.vhost;
    await expect(openVhost({ ...tenant.config.rabbitmq, vhost })).rejects.toThrow(/ConnectionClose|ACCESS.REFUSED|403/);
  });

  test('has no say in the broker’s management: no list of vhosts, no permissions, no way to move messages between vhosts', async () => {
    const { user, password, vhost } = tenant.config.rabbitmq;
    const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
    const requests: [string, string, string?][] = [
      ['GET', 'vhosts'],
      ['GET', 'connections'],
      ['GET', `queues/${other.config.rabbitmq.vhost}`],
      ['PUT', `permissions/${other.config.rabbitmq.vhost}/${user}`, '{"configure":".*","write":".*","read":".*"}'],
      ['PUT', `parameters/shovel/${vhost}/out`, '{"value":{}}'],
      ['PUT', `policies/${other.config.rabbitmq.vhost}/mine`, '{"pattern":".*","definition":{"max-length":0}}'],
    ];
    for (const [method, path, json] of requests) {
      const response = await fetch(`${fleet.manager.settings.RABBITMQ_MANAGEMENT_URL}/api/${path}`, {
        method,
        headers: { authorization, 'content-type': 'application/json' },
        ...(json ? { body: json } : {}),
      });
      await response.body?.cancel();
      expect([path, response.status]).toEqual([path, 401]);
    }
  });
});
