import { randomBytes } from 'node:crypto';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet } from '../support/fleet.ts';
import { asAdministrator, openVhost, queryAs, startFixture } from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let fleet: TestFleet;
let mine: TenantConfig;
let others: TenantConfig;

beforeAll(async () => {
  fleet = await startFleet();
  const { manager } = fleet;
  // At the same time, and the first ones: the shared database is created by both.
  [mine, others] = (await Promise.all([1, 2].map(() => manager.onboard(undefined, 'schema')))) as [
    TenantConfig,
    TenantConfig,
  ];
  await queryAs(others.postgres, manager.settings, 'CREATE TABLE ledger AS SELECT 42 AS amount');
});
afterAll(() => fleet?.close());

const asMe = (query: string) => queryAs(mine.postgres, fleet.settings, query);
const theirs = (name: string) => `"${others.postgres.schema}"."${name}"`;

describe('a tenant in a schema of a shared database', () => {
  test('is told its schema, and has a role and a vhost of its own', () => {
    const { postgres, rabbitmq } = mine;
    expect(postgres.database).toBe(others.postgres.database);
    expect(postgres.database).not.toBe(fleet.manager.settings.POSTGRES_DB);
    expect(postgres.schema).toBe(postgres.user);
    expect(postgres.schema).not.toBe(others.postgres.schema);
    expect(rabbitmq.vhost).not.toBe(others.rabbitmq.vhost);
  });

  test('works in it without naming it, whether or not the client sets the search path', async () => {
    const { schema, ...plain } = mine.postgres;
    await asMe('CREATE TABLE mine AS SELECT 1 AS n; CREATE TEMPORARY TABLE for_now ()');
    expect(await queryAs(plain, fleet.settings, 'SELECT n, current_schema() AS schema FROM mine')).toEqual([
      { n: 1, schema },
    ]);
  });

  test.each([
    ['read another’s table', () => `SELECT * FROM ${theirs('ledger')}`],
    ['write another’s table', () => `INSERT INTO ${theirs('ledger')} VALUES (1)`],
    ['create in another’s schema', () => `CREATE TABLE ${theirs('intruder')} ()`],
    ['drop another’s table', () => `DROP TABLE ${theirs('ledger')}`],
    ['create in public', () => 'CREATE TABLE public.intruder ()'],
    ['create a schema', () => 'CREATE SCHEMA intruder'],
    [
      'let another into its own schema',
      () => `GRANT USAGE ON SCHEMA "${mine.postgres.schema}" TO PUBLIC; CREATE SCHEMA x`,
    ],
    ['rename or drop its own schema', () => `DROP SCHEMA "${mine.postgres.schema}" CASCADE`],
    ['become another', () => `SET ROLE "${others.postgres.user}"`],
    ['create a database', () => 'CREATE DATABASE intruder'],
    ['create a role', () => 'CREATE ROLE intruder'],
    ['read server files', () => `COPY (SELECT 1) TO '/tmp/intruder'`],
    ['install untrusted code', () => 'CREATE FUNCTION f() RETURNS int LANGUAGE c AS $$x$$, $$y$$'],
  ])('cannot %s', async (_what, statement) => {
    await expect(asMe(statement())).rejects.toMatchObject({ code: '42501' });
  });

  test('cannot connect to any other database of the server', async () => {
    const isolated = await fleet.manager.onboard();
    for (const database of [
      isolated.postgres.database,
      'postgres',
      'template1',
      fleet.manager.settings.POSTGRES_DB ?? '',
    ]) {
      const { schema, ...target } = mine.postgres;
      const attempt = queryAs({ ...target, database }, fleet.settings, 'SELECT 1');
      await expect(attempt, database).rejects.toMatchObject({ code: '42501' });
    }
    // Nor may the tenants with a database of their own into the shared one.
    const intruder = { ...isolated.postgres, database: mine.postgres.database };
    await expect(queryAs(intruder, fleet.settings, 'SELECT 1')).rejects.toMatchObject({ code: '42501' });
  });

  test('does not see what another’s sessions run', async () => {
    const client = new Client(connectionOptions(others.postgres, fleet.settings, 'test'));
    await client.connect();
    await client.query(`SELECT 'confidential'`);
    const seen = await asMe(`SELECT query FROM pg_stat_activity WHERE usename = '${others.postgres.user}'`);
    await client.end();
    expect(seen.length).toBeGreaterThan(0);
    for (const { query } of seen) expect(query).toBe('<insufficient privilege>');
  });
});

test('jobs of two tenants in one database: the same names, each its own data', async () => {
  const tenants = [await fleet.tenant('schema'), await fleet.tenant('schema')] as const;
  await Promise.all(tenants.map((tenant) => tenant.done('context.apply', { version: 1, context: simpleContext() })));
  await Promise.all(tenants.map((tenant) => tenant.done('matching.run', { version: 1, context: 'bank' })));
  for (const tenant of tenants) {
    const jobs = await tenant.query('SELECT type, state FROM jobs ORDER BY type');
    expect(jobs).toEqual([
      { type: 'context.apply', state: 'SUCCEEDED' },
      { type: 'matching.run', state: 'SUCCEEDED' },
    ]);
  }
});

test('an administrator who is no superuser provisions, rotates and purges in every isolation', async () => {
  const { settings } = fleet.manager;
  const name = `administrator_${randomBytes(6).toString('hex')}`;
  await asAdministrator(settings, `CREATE ROLE ${name} LOGIN CREATEDB CREATEROLE PASSWORD 'test'`);
  await asAdministrator(settings, `CREATE DATABASE ${name} OWNER ${name}`);
  const manager = await startFixture({ POSTGRES_USER: name, POSTGRES_PASSWORD: 'test', POSTGRES_DB: name });
  for (const isolation of ['isolated', 'schema'] as const) {
    const { tenantId } = await manager.onboard(undefined, isolation);
    await manager.rotate(tenantId);
    const { postgres, rabbitmq } = await manager.connections(tenantId);
    await queryAs(postgres, settings, 'CREATE TABLE ledger ()');
    await (await openVhost(rabbitmq)).close();
    await manager.remove(tenantId);
    const purged = await manager.call('DELETE', `/v1/tenants/${tenantId}/associations/matcher?purge=true`);
    expect(purged, isolation).toMatchObject({ status: 200, body: { status: 'purged' } });
    await expect(queryAs(postgres, settings, 'SELECT 1')).rejects.toMatchObject({
      code: expect.stringMatching(/^(28P01|3D000)$/),
    });
  }
  await manager.close();
  await asAdministrator(settings, `DROP DATABASE ${name} WITH (FORCE)`);
  await asAdministrator(settings, `DROP DATABASE ${name}_shared WITH (FORCE)`);
  await asAdministrator(settings, `DROP ROLE ${name}`);
});
