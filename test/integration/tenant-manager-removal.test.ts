import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  asAdministrator,
  type Fixture,
  type IsolationMode,
  management,
  managementProxy,
  openVhost,
  queryAs,
  startFixture,
  validTenant,
} from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let manager: Fixture;

beforeAll(async () => {
  manager = await startFixture();
});
afterAll(() => manager.close());

const path = (id: string) => `/v1/tenants/${id}/associations/matcher`;
const remove = (id: string, query = '') => manager.call('DELETE', path(id) + query);
const purge = (id: string) => remove(id, '?purge=true');
const associate = (id: string, isolationMode: IsolationMode = 'isolated') =>
  manager.call('POST', path(id), { isolationMode });
const connections = (id: string) => manager.call('GET', `${path(id)}/connections`);
const activeIds = async () => {
  const { body } = await manager.call('GET', '/v1/tenants/active?service=matcher');
  return body.map((tenant: { id: string }) => tenant.id);
};

const kinds = ['isolated', 'schema'] as const;

describe.each(kinds)('a tenant in %s isolation', (kind) => {
  test('that is disassociated is served no more; associated again it finds its data and messages', async () => {
    const before = await manager.onboard(undefined, kind);
    const { tenantId: id } = before;
    await queryAs(before.postgres, manager.settings, 'CREATE TABLE ledger AS SELECT 42 AS amount');
    const connection = await openVhost(before.rabbitmq);
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('waiting', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    channel.sendToQueue('waiting', Buffer.from('still here'), { persistent: true });
    await channel.waitForConfirms();
    await connection.close();

    for (let repeated = 0; repeated < 2; repeated++) {
      expect(await remove(id)).toEqual({ status: 200, body: { serviceName: 'matcher', status: 'disassociated' } });
    }
    expect(await connections(id)).toMatchObject({ status: 404, body: { code: 'ASSOCIATION_NOT_FOUND' } });
    for (const call of ['suspend', 'connection-settings'] as const) {
      expect((await manager.call('PUT', `${path(id)}/${call}`, { maxOpenConns: 2 })).status, call).toBe(404);
    }
    // Reactivation gives back what was suspended, not what was removed.
    await manager.reactivate(id);
    expect(await activeIds()).not.toContain(id);

    expect((await associate(id, kind)).status).toBe(201);
    expect(await activeIds()).toContain(id);
    const after = await manager.connections(id);
    expect(after.postgres).toEqual(before.postgres);
    expect(await queryAs(after.postgres, manager.settings, 'SELECT * FROM ledger')).toEqual([{ amount: 42 }]);
    const again = await openVhost(after.rabbitmq);
    expect(
      String(((await (await again.createChannel()).get('waiting', { noAck: true })) as { content: Buffer }).content),
    ).toBe('still here');
    await again.close();
  });

  test('is not moved to another isolation by associating it again', async () => {
    const { tenantId: id } = await manager.onboard(undefined, kind);
    await remove(id);
    const other = kind === 'schema' ? 'isolated' : 'schema';
    expect(await associate(id, other)).toMatchObject({ status: 409, body: { code: 'ISOLATION_MODE_FIXED' } });
  });

  test('that is purged leaves nothing behind, and begins anew when it is associated again', async () => {
    const { tenantId: id, postgres, rabbitmq } = await manager.onboard(undefined, kind);
    await manager.rotate(id, 'broker');
    await queryAs(
      await manager.connections(id).then((config) => config.postgres),
      manager.settings,
      'CREATE TABLE t ()',
    );
    expect(await purge(id)).toMatchObject({ status: 409, body: { code: 'STILL_ASSOCIATED' } });
    await manager.remove(id);
    for (let repeated = 0; repeated < 2; repeated++) {
      expect(await purge(id)).toEqual({ status: 200, body: { serviceName: 'matcher', status: 'purged' } });
    }
    expect(await connections(id)).toMatchObject({ status: 403, body: { code: '0131', status: 'purged' } });
    expect(await remove(id)).toMatchObject({ status: 403, body: { status: 'purged' } });
    expect(await leftovers(postgres.user, postgres.database)).toEqual([]);
    for (const place of [`vhosts/${rabbitmq.vhost}`, `users/${rabbitmq.vhost}`, `users/${rabbitmq.vhost}_b`]) {
      expect((await management(manager.settings, 'GET', place)).status, place).toBe(404);
    }

    // In any isolation: there is nothing that would have to be moved.
    expect((await associate(id, 'isolated')).status).toBe(201);
    const anew = await manager.connections(id);
    expect(anew.postgres.user).not.toBe(postgres.user);
    expect(await queryAs(anew.postgres, manager.settings, `SELECT to_regclass('t') AS t`)).toEqual([{ t: null }]);
  });
});

/** What the servers still have under a tenant's name. */
async function leftovers(name: string, database: string) {
  const { settings } = manager;
  const rows = await asAdministrator(
    settings,
    'SELECT rolname AS name FROM pg_roles WHERE rolname = $1 UNION ALL SELECT datname FROM pg_database WHERE datname = $1',
    [name],
  );
  if (database === name) return rows;
  const shared = { ...settings, POSTGRES_DB: database };
  return [...rows, ...(await asAdministrator(shared, 'SELECT FROM pg_namespace WHERE nspname = $1', [name]))];
}

test('purging that RabbitMQ interrupts keeps the tenant out, and the same request completes it', async () => {
  let failing = true;
  const proxy = await managementProxy(
    manager.settings.RABBITMQ_MANAGEMENT_URL as string,
    ({ method, url }, response) => {
      if (!failing || method !== 'DELETE' || !url?.startsWith('/api/vhosts/')) return false;
      response.writeHead(500).end();
      return true;
    },
  );
  const broken = await startFixture({ RABBITMQ_MANAGEMENT_URL: proxy.url });
  const { tenantId: id, postgres } = await broken.onboard();
  await broken.remove(id);
  const interrupted = await broken.call('DELETE', `${path(id)}?purge=true`);
  expect(interrupted).toMatchObject({ status: 503, body: { code: 'PURGE_INTERRUPTED' } });
  const refused = await broken.call('GET', `${path(id)}/connections`);
  expect(refused).toMatchObject({ status: 403, body: { status: 'purged' } });
  const early = await broken.call('POST', path(id), { isolationMode: 'isolated' });
  expect(early).toMatchObject({ status: 409, body: { code: 'PURGING' } });
  failing = false;
  expect((await broken.call('DELETE', `${path(id)}?purge=true`)).body.status).toBe('purged');
  expect(await leftovers(postgres.user, postgres.database)).toEqual([]);
  expect((await management(manager.settings, 'GET', `vhosts/${postgres.user}`)).status).toBe(404);
  await broken.close();
  proxy.close();
});

describe('a deleted tenant', () => {
  test('is known, active nowhere, and can be brought back with its data', async () => {
    const { tenantId: id, postgres } = await manager.onboard();
    await queryAs(postgres, manager.settings, 'CREATE TABLE ledger ()');
    for (let repeated = 0; repeated < 2; repeated++) {
      const answer = await manager.call('DELETE', `/v1/tenants/${id}`);
      expect(answer).toMatchObject({ status: 200, body: { id, status: 'deleted' } });
    }
    expect(await activeIds()).not.toContain(id);
    expect((await manager.call('GET', `/v1/tenants/${id}`)).body.status).toBe('deleted');
    for (const [method, where, body] of [
      ['GET', `${path(id)}/connections`],
      ['POST', path(id), { isolationMode: 'isolated' }],
      ['PUT', `${path(id)}/suspend`],
      ['PUT', `${path(id)}/connection-settings`, { maxOpenConns: 2 }],
      ['POST', `${path(id)}/credentials/rotate`],
      ['PUT', `/v1/tenants/${id}/suspend`],
    ] as const) {
      const answer = await manager.call(method, where, body);
      expect(answer, `${method} ${where}`).toMatchObject({ status: 404, body: { code: 'TENANT_NOT_FOUND' } });
    }
    expect((await manager.call('POST', '/v1/tenants', { ...validTenant(), id })).status).toBe(409);
    await manager.reactivate(id);
    expect(await activeIds()).toContain(id);
    await queryAs((await manager.connections(id)).postgres, manager.settings, 'SELECT FROM ledger');
  });

  test('is purged as any other', async () => {
    const { tenantId: id, postgres } = await manager.onboard();
    await manager.call('DELETE', `/v1/tenants/${id}`);
    await remove(id);
    expect((await purge(id)).status).toBe(200);
    expect(await leftovers(postgres.user, postgres.database)).toEqual([]);
  });
});

test('what is not there is not removed', async () => {
  const id = randomUUID();
  for (const where of [`/v1/tenants/${id}`, path(id), `${path(id)}?purge=true`]) {
    expect(await manager.call('DELETE', where)).toMatchObject({ status: 404, body: { code: 'TENANT_NOT_FOUND' } });
  }
  await manager.create(id);
  for (const answer of [await remove(id), await purge(id)]) {
    expect(answer).toMatchObject({ status: 404, body: { code: 'ASSOCIATION_NOT_FOUND' } });
  }
  expect((await remove(id, '?purge=maybe')).status).toBe(400);
});
