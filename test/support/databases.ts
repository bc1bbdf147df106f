import { randomBytes, randomUUID } from 'node:crypto';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { type TenantDatabase, tenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import { Slots } from '@matcher/shared/slots.ts';
import { singleTenantConfig, type TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { Client, Pool, type QueryResultRow } from 'pg';

/** Empty databases of a test file's own on the tests' server, each as a tenant's. */
export interface TestDatabases {
  settings: Settings;
  create(): Promise<TenantConfig>;
  /** Gives a tenant's database to a login role of its own, whose password can be changed. */
  withOwnRole(config: TenantConfig): Promise<TenantConfig>;
  /** Runs one query as the administrator, who sees what every database's connections do. */
  ask<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /** A tenant's database as a job sees it, over two connections, closed at the end. */
  database(config: TenantConfig): TenantDatabase;
  /** A connection of its own to a tenant's database, closed at the end. */
  connect(config: TenantConfig, overrides?: Partial<Settings>): Promise<Client>;
  close(): Promise<void>;
}

export async function openTestDatabases(overrides: NodeJS.ProcessEnv = {}): Promise<TestDatabases> {
  const settings = loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false', ...overrides });
  const server = singleTenantConfig(settings);
  const administrator = new Client(connectionOptions(server.postgres, settings, 'test'));
  await administrator.connect();
  const databases: string[] = [];
  const roles: string[] = [];
  const clients: Client[] = [];
  const pools: Pool[] = [];
  return {
    settings,
    async create() {
      const database = `test_${randomBytes(6).toString('hex')}`;
      databases.push(database);
      await administrator.query(`CREATE DATABASE ${database}`);
      return { ...server, tenantId: newTenantId(), postgres: { ...server.postgres, database } };
    },
    async withOwnRole(config) {
      const user = `role_${randomBytes(6).toString('hex')}`;
      const password = randomBytes(12).toString('hex');
      await administrator.query(`CREATE ROLE ${user} LOGIN PASSWORD '${password}'`);
      roles.push(user);
      await administrator.query(`ALTER DATABASE ${config.postgres.database} OWNER TO ${user}`);
      return { ...config, postgres: { ...config.postgres, user, password } };
    },
    async ask<R extends QueryResultRow>(sql: string, values?: unknown[]) {
      return (await administrator.query<R>(sql, values)).rows;
    },
    database({ postgres: { host, port, user, password, database } }) {
      const pool = new Pool({ host, port, user, password, database, max: 2 });
      // A pool is told that it has ended before its last connection has.
      pool.on('error', () => {});
      pools.push(pool);
      return tenantDatabase(pool, new Slots(1), 30_000);
    },
    async connect({ postgres }, overrides = {}) {
      const client = new Client(connectionOptions(postgres, { ...settings, ...overrides }, 'test'));
      // A test may end it from the server's side.
      client.on('error', () => {});
      clients.push(client);
      await client.connect();
      return client;
    },
    async close() {
      await Promise.all([...clients, ...pools].map((one) => one.end()));
      for (const database of databases) await administrator.query(`DROP DATABASE ${database} WITH (FORCE)`);
      for (const role of roles) await administrator.query(`DROP ROLE ${role}`);
      await administrator.end();
    },
  };
}

export function newTenantId(): TenantId {
  return canonicalTenantId(randomUUID());
}
