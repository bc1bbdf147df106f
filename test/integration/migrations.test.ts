import { migrate } from '@matcher/shared/postgres/migrate.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { newTenantId, openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { until } from '../support/fleet.ts';

let databases: TestDatabases;
let tenant: TenantConfig;

beforeAll(async () => {
  databases = await openTestDatabases();
});
afterAll(() => databases.close());
beforeEach(async () => {
  tenant = await databases.create();
});

const tables = async (client: Client) =>
  (await client.query(`SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`)).rows.map(
    ({ relname }) => relname,
  );

/** The statements that a client sends from now on. */
function statements(client: Client): string[] {
  const sent: string[] = [];
  const query = client.query.bind(client) as (...args: unknown[]) => unknown;
  client.query = ((...args: unknown[]) => {
    sent.push(typeof args[0] === 'string' ? args[0] : (args[0] as { text: string }).text);
    return query(...args);
  }) as Client['query'];
  return sent;
}

test('eight processes that open a new database at the same time migrate it once, and all can use it', async () => {
  const clients = await Promise.all(Array.from({ length: 8 }, () => databases.connect(tenant)));
  await Promise.all(clients.map((client) => migrate(client)));
  for (const client of clients)
    expect((await client.query('SELECT count(*)::int AS n FROM jobs')).rows).toEqual([{ n: 0 }]);
  const { rows } = await (clients[0] as Client).query(
    'SELECT version, applied_at FROM schema_versions ORDER BY version',
  );
  expect(rows.map(({ version }) => version)).toEqual(rows.map((_, i) => i + 1));
  expect(rows.length).toBeGreaterThan(1);
  expect(new Set(rows.map(({ applied_at }) => applied_at.getTime())).size).toBe(1);
});

test('opening a migrated database again costs one query and no transaction', async () => {
  await migrate(await databases.connect(tenant), tenant.tenantId);
  const client = await databases.connect(tenant);
  const sent = statements(client);
  await migrate(client, tenant.tenantId);
  expect(sent).toHaveLength(1);
  expect(sent[0]).toMatch(/^SELECT/);
});

test('a migration that fails leaves nothing of itself or of those before it, and the next opening tries anew', async () => {
  const client = await databases.connect(tenant);
  // In the way of the second migration.
  await client.query('CREATE TABLE sources (id integer)');
  await expect(migrate(client)).rejects.toThrow('relation "sources" already exists');
  expect(await tables(client)).toEqual(['sources']);
  await client.query('DROP TABLE sources');
  await migrate(client);
  expect(await tables(client)).toContain('jobs');
});

test('a process that dies in the middle of a migration leaves nothing', async () => {
  const holder = await databases.connect(tenant);
  await holder.query('BEGIN; CREATE TABLE sources (id integer)');
  const dying = await databases.connect(tenant);
  const failed = expect(migrate(dying)).rejects.toThrow();
  const backend = await until(async () => (await stuck())[0]);
  await databases.ask('SELECT pg_terminate_backend($1)', [backend.pid]);
  await failed;
  await holder.query('ROLLBACK');
  expect(await tables(holder)).toEqual([]);
});

test('a schema that is newer than the process is refused, and not touched', async () => {
  const client = await databases.connect(tenant);
  await migrate(client);
  await client.query(`INSERT INTO schema_versions (version, file) VALUES (9000, '9000_of_the_future.sql')`);
  const sent = statements(client);
  await expect(migrate(client)).rejects.toMatchObject({
    code: 'SCHEMA_TOO_NEW',
    remedy: 'not-now',
    message: expect.stringContaining('9000'),
    hint: expect.stringContaining('update'),
  });
  expect(sent.filter((sql) => !sql.startsWith('SELECT'))).toEqual([]);
});

test('a migration may take longer than a query may', async () => {
  const holder = await databases.connect(tenant);
  await holder.query('BEGIN; CREATE TABLE sources (id integer)');
  const client = await databases.connect(tenant, { POSTGRES_QUERY_TIMEOUT_SEC: 1 });
  const migrated = migrate(client);
  migrated.catch(() => {});
  await Promise.race([migrated, until(async () => (await stuck(1200)).length > 0)]);
  await holder.query('ROLLBACK');
  await migrated;
  // And the limit is there again for what comes after it.
  expect((await client.query('SHOW statement_timeout')).rows).toEqual([{ statement_timeout: '1s' }]);
});

test.each([
  ['the first', ''],
  [
    'a later one',
    'CREATE TABLE schema_versions (version integer PRIMARY KEY, file text NOT NULL, applied_at timestamptz)',
  ],
])(
  'whoever waits for another’s migration, %s, waits no longer than a query may wait for a lock, and its jobs wait',
  async (_which, before) => {
    const holder = await databases.connect(tenant);
    await holder.query(before);
    await holder.query('BEGIN; CREATE TABLE sources (id integer)');
    const first = migrate(await databases.connect(tenant));
    await until(async () => (await stuck()).length > 0);
    const late = await databases.connect(tenant, { POSTGRES_QUERY_TIMEOUT_SEC: 1 });
    await expect(migrate(late)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', remedy: 'not-now' });
    // Whoever comes later may have a schema that is as it should be, and only reads its version.
    expect((await late.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await holder.query('ROLLBACK');
    await first;
    await migrate(late);
  },
);

test('somebody else of the same database can’t hold a migration up by a lock that is not on one of its tables', async () => {
  const other = await databases.connect(tenant);
  await other.query(
    `SELECT pg_advisory_lock(key) FROM generate_series(1, 1000) key;
     SELECT pg_advisory_lock(hashtextextended('migration of public', 0))`,
  );
  await migrate(await databases.connect(tenant, { POSTGRES_QUERY_TIMEOUT_SEC: 1 }));
});

describe('whose a database is', () => {
  const owner = async () => (await (await databases.connect(tenant)).query('SELECT tenant_id FROM tenant')).rows;
  const another = newTenantId();
  const foreign = () => ({
    code: 'DATABASE_OF_ANOTHER_TENANT',
    remedy: 'not-now',
    message: expect.stringContaining(tenant.tenantId),
    hint: expect.stringContaining(another),
  });

  test('is written into it by its first tenant, and everybody else is turned away', async () => {
    await migrate(await databases.connect(tenant), tenant.tenantId);
    await migrate(await databases.connect(tenant), tenant.tenantId);
    await expect(migrate(await databases.connect(tenant), another)).rejects.toMatchObject(foreign());
    expect(await owner()).toEqual([{ tenant_id: tenant.tenantId }]);
  });

  test('is written into one that nobody has claimed so far', async () => {
    await migrate(await databases.connect(tenant));
    expect(await owner()).toEqual([]);
    await migrate(await databases.connect(tenant), tenant.tenantId);
    await expect(migrate(await databases.connect(tenant), another)).rejects.toMatchObject(foreign());
  });

  test('is decided once, also between two that come at the same time', async () => {
    const tenants = [tenant.tenantId, another];
    for (const first of [async () => {}, async () => migrate(await databases.connect(tenant))]) {
      await first();
      const clients = await Promise.all(tenants.map(() => databases.connect(tenant)));
      const outcomes = await Promise.allSettled(clients.map((client, i) => migrate(client, tenants[i] as TenantId)));
      expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
      tenant = await databases.create();
      tenants[0] = tenant.tenantId;
    }
  });

  test('is looked at before a schema is brought up to date that is another’s', async () => {
    const client = await databases.connect(tenant);
    await migrate(client, tenant.tenantId);
    await client.query('DELETE FROM schema_versions WHERE version = (SELECT max(version) FROM schema_versions)');
    const sent = statements(client);
    await expect(migrate(client, another)).rejects.toMatchObject(foreign());
    expect(sent).toHaveLength(1);
  });
});

/** The backends of the tenant's database that wait for another's transaction, for at least `ms`. */
const stuck = (ms = 0) =>
  databases.ask<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND wait_event = 'transactionid'
       AND query_start < clock_timestamp() - $2 * interval '1 ms'`,
    [tenant.postgres.database, ms],
  );
