import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { administratorOptions } from '../../workers/tenant-manager/administrator.ts';
import { lockTimeoutMs } from '../../workers/tenant-manager/lock.ts';
import {
  asAdministrator,
  type Fixture,
  management,
  managementProxy,
  openVhost,
  queryAs,
  startFixture,
} from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let manager: Fixture;
let mine: TenantConfig;
let others: TenantConfig;

beforeAll(async () => {
  manager = await startFixture();
  [mine, others] = await Promise.all([manager.onboard(), manager.onboard()]);
});
afterAll(() => manager.close());

const associate = (fixture: Fixture, id: string) =>
  fixture.call('POST', `/v1/tenants/${id}/associations/matcher`, { isolationMode: 'isolated' });

describe('the tenant’s role', () => {
  test('works in its own database, as its owner', async () => {
    await queryAs(mine.postgres, manager.settings, 'CREATE TABLE ledger (id bigint); CREATE SCHEMA other');
    const rows = await queryAs(mine.postgres, manager.settings, 'SELECT current_user, current_database()');
    expect(rows).toEqual([{ current_user: mine.postgres.user, current_database: mine.postgres.database }]);
  });

  test('cannot connect to any other database of the server', async () => {
    const databases = [others.postgres.database, 'postgres', 'template1', manager.settings.POSTGRES_DB as string];
    for (const database of databases) {
      const attempt = queryAs({ ...mine.postgres, database }, manager.settings, 'SELECT 1');
      await expect(attempt, database).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('has no privilege beyond its database', async () => {
    const [role] = await asAdministrator(
      manager.settings,
      'SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = $1',
      [mine.postgres.user],
    );
    expect(Object.values(role)).toEqual([false, false, false, false, false]);
    for (const forbidden of [
      'CREATE DATABASE mine_too',
      'CREATE ROLE mine_too',
      `DROP DATABASE "${others.postgres.database}"`,
    ]) {
      await expect(queryAs(mine.postgres, manager.settings, forbidden)).rejects.toMatchObject({ code: '42501' });
    }
  });

  test('does not see what another’s sessions run', async () => {
    const client = new Client(connectionOptions(others.postgres, manager.settings, 'test'));
    await client.connect();
    await client.query(`SELECT 'confidential'`);
    const statement = 'SELECT query FROM pg_stat_activity WHERE usename = $1';
    const seen = await queryAs(mine.postgres, manager.settings, statement, [others.postgres.user]);
    await client.end();
    expect(seen).toEqual([{ query: '<insufficient privilege>' }]);
  });

  test('a wrong password is refused', async () => {
    const attempt = queryAs({ ...mine.postgres, password: others.postgres.password }, manager.settings, 'SELECT 1');
    await expect(attempt).rejects.toMatchObject({ code: '28P01' });
  });
});

describe('the tenant’s RabbitMQ user', () => {
  test('declares, publishes and consumes in its own vhost', async () => {
    const connection = await openVhost(mine.rabbitmq);
    const channel = await connection.createChannel();
    await channel.assertQueue('own', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    const received = new Promise<string>((resolve) => {
      void channel.consume('own', (message) => resolve(String(message?.content)), { noAck: true });
    });
    channel.sendToQueue('own', Buffer.from('hello'));
    expect(await received).toBe('hello');
    await connection.close();
  });

  test('cannot open another vhost', async () => {
    for (const vhost of [others.rabbitmq.vhost, '/']) {
      await expect(openVhost({ ...mine.rabbitmq, vhost }), vhost).rejects.toThrow(
        'Expected ConnectionOpenOk; got <ConnectionClose',
      );
    }
  });

  test('is no administrator, and is alone in its vhost', async () => {
    const { user, vhost } = mine.rabbitmq;
    const { tags } = (await (await management(manager.settings, 'GET', `users/${user}`)).json()) as { tags: unknown };
    expect([tags].flat().join('')).toBe('');
    const permissions = await (await management(manager.settings, 'GET', `vhosts/${vhost}/permissions`)).json();
    expect(permissions).toEqual([{ user, vhost, configure: '.*', write: '.*', read: '.*' }]);
  });
});

describe('names and passwords', () => {
  test('nobody learns from a server’s list of roles, databases or vhosts who its tenants are', async () => {
    const id = `acme-bank-${randomUUID().slice(0, 8)}`;
    const tenants = [await manager.onboard(id), await manager.onboard(`${id}-schema`, 'schema')];
    const names = tenants.flatMap(({ postgres, rabbitmq }) => [postgres.user, rabbitmq.vhost, rabbitmq.user]);
    for (const name of names) expect(name).toMatch(/^tenant_[0-9a-f]{24}$/);
    expect(tenants[1]?.postgres).toMatchObject({ schema: tenants[1]?.postgres.user });
    // Who may ask the Tenant Manager can tell.
    const { body } = await manager.call('GET', `/v1/tenants/${id}`);
    expect(body.associations).toEqual([
      {
        serviceName: 'matcher',
        status: 'active',
        isolationMode: 'isolated',
        database: tenants[0]?.postgres.database,
        vhost: tenants[0]?.rabbitmq.vhost,
      },
    ]);
  });

  test('identifiers that differ only in case, or only after 60 characters, get their own databases', async () => {
    const short = `Case_${randomUUID().slice(0, 8)}`;
    const long = `L${'o'.repeat(240)}ng-${randomUUID().slice(0, 8)}`;
    const tenants = await Promise.all([short, short.toLowerCase(), long, `${long}X`].map((id) => manager.onboard(id)));
    expect(new Set(tenants.map((tenant) => tenant.postgres.database)).size).toBe(4);
    for (const { postgres, rabbitmq } of tenants) {
      expect(postgres.database).toMatch(/^[a-z0-9_]{1,63}$/);
      await queryAs(postgres, manager.settings, 'SELECT 1');
      await (await openVhost(rabbitmq)).close();
    }
  });

  test('passwords are in no log line and not readable in the Tenant Manager’s database', async () => {
    const [row] = await asAdministrator(
      manager.settings,
      'SELECT database_password, broker_password FROM tenant_manager.associations WHERE tenant_id = $1',
      [mine.tenantId],
    );
    const kept = `${row.database_password.toString('latin1')}${row.broker_password.toString('latin1')}${manager.log()}`;
    for (const password of [mine.postgres.password, mine.rabbitmq.password]) {
      expect(password).toHaveLength(43);
      expect(kept).not.toContain(password);
    }
    expect(kept).not.toContain(manager.settings.MULTI_TENANT_SERVICE_API_KEY);
  });

  test('with another API key the association is posted again and gets new passwords', async () => {
    const { tenantId } = await manager.onboard();
    const former = await manager.connections(tenantId);
    const rekeyed = await startFixture();
    const path = `/v1/tenants/${tenantId}/associations/matcher/connections`;
    expect(await rekeyed.call('GET', path)).toMatchObject({ status: 409, body: { code: 'CREDENTIALS_UNREADABLE' } });
    expect(await associate(rekeyed, tenantId)).toMatchObject({ status: 201, body: { status: 'active' } });
    const renewed = await rekeyed.connections(tenantId);
    expect(renewed.postgres.database).toBe(former.postgres.database);
    await queryAs(renewed.postgres, manager.settings, 'SELECT 1');
    await (await openVhost(renewed.rabbitmq)).close();
    await expect(queryAs(former.postgres, manager.settings, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    await rekeyed.close();
  });
});

describe('provisioning that does not go straight through', () => {
  test('two requests at once provision once', async () => {
    const id = await manager.create();
    const answers = await Promise.all([associate(manager, id), associate(manager, id), associate(manager, id)]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, 409, 409]);
    const { postgres, rabbitmq } = await manager.connections(id);
    await queryAs(postgres, manager.settings, 'SELECT 1');
    await (await openVhost(rabbitmq)).close();
  });

  test('a request that waits for another one too long is refused, and nothing is held up by it', async () => {
    const id = await manager.create();
    const holder = new Client(administratorOptions(manager.settings));
    await holder.connect();
    await holder.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', [`tenant-manager/${id}/matcher`]);
    const path = `/v1/tenants/${id}/associations/matcher`;
    const began = performance.now();
    const waiting = await Promise.all([
      associate(manager, id),
      manager.call('PUT', `${path}/connection-settings`, { maxOpenConns: 3 }),
      manager.call('POST', `${path}/credentials/rotate`),
      manager.call('DELETE', path),
      manager.call('DELETE', `${path}?purge=true`),
    ]);
    for (const answer of waiting) expect(answer).toMatchObject({ status: 503, body: { code: 'BUSY' } });
    expect(performance.now() - began).toBeGreaterThan(lockTimeoutMs - 100);
    await manager.onboard();
    await holder.end();
    expect(await associate(manager, id)).toMatchObject({ status: 201 });
    // The limit was the lock's and is not the session's.
    await expect(manager.limits(id, { maxOpenConns: 3 })).resolves.toBeDefined();
  });

  test('two different tenants are provisioned at the same time', async () => {
    const tenants = await Promise.all(Array.from({ length: 6 }, () => manager.onboard()));
    for (const { postgres } of tenants) await queryAs(postgres, manager.settings, 'SELECT 1');
  });

  test.each(['/api/vhosts/', '/api/users/', '/api/permissions/'])(
    'a failure at %s is continued by the same request',
    async (step) => {
      const failing = ({ method, url }: IncomingMessage) => method === 'PUT' && url?.startsWith(step);
      const proxy = await managementProxy(manager.settings.RABBITMQ_MANAGEMENT_URL as string, (request, response) => {
        if (!failing(request)) return false;
        response.writeHead(500).end('{"reason":"out of order"}');
        return true;
      });
      const { MULTI_TENANT_SERVICE_API_KEY } = manager.settings;
      const broken = await startFixture({ RABBITMQ_MANAGEMENT_URL: proxy.url, MULTI_TENANT_SERVICE_API_KEY });
      const id = await manager.create();
      for (let repeated = 0; repeated < 2; repeated++) {
        expect(await associate(broken, id)).toMatchObject({ status: 503, body: { code: 'PROVISIONING_FAILED' } });
      }
      const connections = await broken.call('GET', `/v1/tenants/${id}/associations/matcher/connections`);
      expect(connections).toMatchObject({ status: 409, body: { code: 'PROVISIONING' } });
      const suspend = await broken.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`);
      expect(suspend).toMatchObject({ status: 409, body: { code: 'PROVISIONING' } });
      const active = await broken.call('GET', '/v1/tenants/active?service=matcher');
      expect(active.body.map((tenant: { id: string }) => tenant.id)).not.toContain(id);
      await broken.close();
      proxy.close();

      expect(await associate(manager, id)).toMatchObject({ status: 201, body: { status: 'active' } });
      const { postgres, rabbitmq } = await manager.connections(id);
      await queryAs(postgres, manager.settings, 'SELECT 1');
      await (await openVhost(rabbitmq)).close();
    },
  );
});

test('a tenant from before the last migration keeps its names', async () => {
  const database = `manager_${randomUUID().slice(0, 8)}`;
  await asAdministrator(manager.settings, `CREATE DATABASE ${database}`);
  const settings = { ...manager.settings, POSTGRES_DB: database };
  const first = new URL('../../workers/tenant-manager/migrations/0001_tenants.sql', import.meta.url);
  const name = `tenant_old_${randomUUID().slice(0, 8)}`;
  await asAdministrator(
    settings,
    `CREATE SCHEMA tenant_manager; ${readFileSync(first, 'utf8')}
     CREATE TABLE tenant_manager.schema_versions (file text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
     INSERT INTO tenant_manager.schema_versions (file) VALUES ('0001_tenants.sql');
     INSERT INTO tenant_manager.tenants (id, slug, name, environment, isolation, owner_email, email_verified)
       VALUES ('old', 'old', 'Old Ltd', 'test', 'isolated', 'owner@example.com', true);
     INSERT INTO tenant_manager.associations
       (tenant_id, service, isolation_mode, status, resource_name, database_password, broker_password)
       VALUES ('old', 'matcher', 'isolated', 'active', '${name}', '', '')`,
  );
  const upgraded = await startFixture({ POSTGRES_DB: database });
  // Its passwords are of another key, so it is provisioned once more.
  expect((await associate(upgraded, 'old')).status).toBe(201);
  await upgraded.rotate('old');
  const { postgres, rabbitmq } = await upgraded.connections('old');
  expect([postgres.database, postgres.user, rabbitmq.vhost, rabbitmq.user]).toEqual([name, name, name, `${name}_b`]);
  await queryAs(postgres, settings, 'SELECT 1');
  await (await openVhost(rabbitmq)).close();
  await upgraded.remove('old');
  expect((await upgraded.call('DELETE', '/v1/tenants/old/associations/matcher?purge=true')).status).toBe(200);
  await upgraded.close();
  await asAdministrator(manager.settings, `DROP DATABASE ${database} WITH (FORCE)`);
});
