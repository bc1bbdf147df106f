import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import { type PoolLease, TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { PoolClient } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asAdministrator, type Fixture, queryAs, startFixture } from '../support/tenant-manager.ts';

let manager: Fixture;
const settings = loadSettings('worker', {
  ...process.env,
  MULTI_TENANT_ENABLED: 'false',
  POSTGRES_QUERY_TIMEOUT_SEC: '1',
});
const log = createLog({ ENV_NAME: 'test', LOG_LEVEL: 'silent' }, 'worker');

beforeAll(async () => {
  manager = await startFixture();
});
afterAll(() => manager.close());

/** Pools of these tenants, opened at once: whoever comes first to a shared database migrates beside the other. */
async function open(configs: TenantConfig[], overrides: Partial<Settings> = {}) {
  const of = new Map(configs.map((config) => [config.tenantId, config]));
  const config = async (id: TenantConfig['tenantId']) => of.get(id) as TenantConfig;
  const source = { config, refresh: config, forget() {} } as Partial<TenantSource> as TenantSource;
  const all = { ...settings, ...overrides };
  const pools = new TenantPools(source, all, log);
  const leases = await Promise.all(configs.map(({ tenantId }) => pools.lease(tenantId)));
  return {
    databases: leases.map(({ db }) => db),
    pool: (leases[0] as PoolLease).pool,
    async close() {
      for (const lease of leases) lease.release();
      await pools.closeAll();
    },
  };
}

/** What one session has in it that a later user of its connection could find. */
async function observe(client: PoolClient) {
  const { rows } = await client.query(`
    SELECT pg_backend_pid() AS pid, current_user, session_user, current_setting('role') AS role, current_schema() AS schema,
           (SELECT json_object_agg(name, setting) FROM pg_settings WHERE source = 'session') AS settings,
           nullif(current_setting('attack.value', true), '') AS value,
           (SELECT count(*)::int FROM pg_class WHERE relnamespace = pg_my_temp_schema()) AS temporary,
           (SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
           (SELECT array_agg(name) FROM pg_prepared_statements) AS prepared,
           (SELECT array_agg(name) FROM pg_cursors WHERE is_holdable) AS cursors,
           (SELECT array_agg(c) FROM pg_listening_channels() c) AS channels`);
  const { pid, ...state } = rows[0];
  return { pid: pid as number, state };
}

/** How to leave something in a session; `other` is the other tenant's schema, or one that is not there. */
type Attack = [name: string, attack: (other: string, friend: string) => string];
const attacks: Attack[] = [
  ['SET search_path', (other) => `SET search_path TO "${other}", public`],
  ['SET of a setting', () => `SET work_mem TO '1MB'`],
  ['SET of a setting of one’s own', () => `SET attack.value TO 'left'`],
  ['SET statement_timeout', () => 'SET statement_timeout TO 0'],
  ['SET SESSION CHARACTERISTICS', () => 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'],
  ['set_config', (other) => `SELECT set_config('search_path', '${other}', false)`],
  [
    'set_config in a statement that looks harmless',
    (other) =>
      `WITH c AS MATERIALIZED (SELECT set_config('search_path', '${other}', false) AS v) SELECT count(v) FROM c`,
  ],
  ['set_config inside a function', (other) => `SELECT hidden('${other}')`],
  ['set_config inside a DO', (other) => `DO $$ BEGIN PERFORM set_config('search_path', '${other}', false); END $$`],
  ['SET ROLE', (_other, friend) => `SET ROLE "${friend}"`],
  ['SET SESSION AUTHORIZATION', () => 'SET SESSION AUTHORIZATION DEFAULT; SET work_mem TO DEFAULT'],
  ['a temporary table', () => 'CREATE TEMP TABLE schema_versions AS SELECT 1 AS version'],
  ['SELECT INTO a temporary table', () => 'SELECT 1 AS version INTO TEMP schema_versions'],
  ['a session’s advisory lock', () => 'SELECT pg_advisory_lock(4711)'],
  ['a shared advisory lock', () => 'SELECT pg_advisory_lock_shared(4711)'],
  ['LISTEN', () => 'LISTEN news'],
  ['PREPARE', () => 'PREPARE kept AS SELECT 1'],
];

describe.each(['database', 'schema'] as const)('with %s isolation', (isolation) => {
  let ours: TenantConfig;
  let theirs: TenantConfig;
  let friend: string;
  let opened: Awaited<ReturnType<typeof open>>;
  let db: TenantDatabase;
  let theirDb: TenantDatabase;
  /** The state of a session that nobody has used. */
  let fresh: object;

  beforeAll(async () => {
    // One connection for transactions and one for everything else: what is left in one of them is found.
    const limits = { maxOpenConns: 2, maxIdleConns: 2 };
    ours = { ...(await manager.onboard(undefined, isolation)), limits };
    theirs = { ...(await manager.onboard(undefined, isolation)), limits };
    // A role that the tenant may become: what it may not become, it can't leave behind.
    friend = `friend_of_${ours.postgres.user}`;
    await asAdministrator(manager.settings, `CREATE ROLE "${friend}"`);
    await asAdministrator(manager.settings, `GRANT "${friend}" TO "${ours.postgres.user}"`);
    opened = await open([ours, theirs]);
    [db, theirDb] = opened.databases as [TenantDatabase, TenantDatabase];
    const untouched = await open([ours]);
    const client = await untouched.pool.connect();
    fresh = (await observe(client)).state;
    client.release();
    await untouched.close();
    await theirDb.query('CREATE TABLE secrets AS SELECT 42 AS amount');
    await db.query(`CREATE FUNCTION hidden(path text) RETURNS text LANGUAGE plpgsql AS
      $$ BEGIN RETURN set_config('search_path', path, false); END $$`);
  });
  afterAll(async () => {
    await opened.close();
    await asAdministrator(manager.settings, `DROP ROLE "${friend}"`);
  });

  const other = () => theirs.postgres.schema ?? 'elsewhere';

  /** All sessions of the pool, which is waited for to have taken every connection back. */
  async function sessions() {
    const clients = [await opened.pool.connect(), await opened.pool.connect()];
    const found = await Promise.all(clients.map((client) => observe(client)));
    for (const client of clients) client.release();
    return found.sort((one, another) => one.pid - another.pid);
  }

  /** The same connections are there as before, and nothing is in them. */
  async function expectNothingLeftBy(attack: () => Promise<unknown>) {
    const before = await sessions();
    await attack();
    expect(await sessions()).toEqual(before.map(({ pid }) => ({ pid, state: fresh })));
  }

  test.each(attacks)('%s in a query is gone for the next use of the connection', async (_name, attack) => {
    await expectNothingLeftBy(() => db.query(attack(other(), friend)));
  });

  test.each([
    ...attacks,
    ['a cursor that outlives its transaction', () => 'DECLARE kept CURSOR WITH HOLD FOR SELECT 1'] as Attack,
  ])('%s in a transaction is gone for the next use of the connection', async (_name, attack) => {
    await expectNothingLeftBy(() => db.transaction((tx) => tx.query(attack(other(), friend))));
  });

  test.each([...attacks, ['a failed statement', () => 'SELECT 1/0'] as Attack])(
    '%s in a transaction that is rolled back is gone for the next use of the connection',
    async (_name, attack) => {
      await expectNothingLeftBy(async () => {
        const failing = db.transaction(async (tx) => {
          await tx.query(attack(other(), friend));
          throw new Error('changed my mind');
        });
        await expect(failing).rejects.toThrow();
      });
    },
  );

  test('a transaction that a query leaves open is not what the next use of the connection runs in', async () => {
    await db.query('CREATE TABLE begun (n integer)');
    await expectNothingLeftBy(() => db.query('BEGIN; INSERT INTO begun VALUES (1)'));
    expect(await db.query('SELECT n FROM begun')).toEqual([]);
  });

  test('both were migrated, each in its own place, though they were opened at once', async () => {
    for (const tenantDb of [db, theirDb]) {
      const [row] = await tenantDb.query(
        `SELECT count(*)::int AS tables, count(DISTINCT schemaname)::int AS schemas, bool_and(schemaname = current_schema()) AS own
           FROM pg_tables WHERE tablename IN ('schema_versions', 'jobs', 'outbox', 'transactions') AND schemaname = current_schema()`,
      );
      expect(row).toEqual({ tables: 4, schemas: 1, own: true });
    }
    await db.query(`INSERT INTO outbox (event_id, event_type, body) VALUES (gen_random_uuid(), 'ours', '{}')`);
    expect(await theirDb.query('SELECT event_type FROM outbox')).toEqual([]);
    await db.query('DELETE FROM outbox');
  });

  describe('another tenant’s rows are out of reach', () => {
    const attempt = (...statements: string[]) =>
      db.transaction(async (tx) => {
        let rows: unknown[] = [];
        for (const sql of statements) rows = await tx.query(sql);
        return rows;
      });
    const place = () => theirs.postgres.schema ?? `${theirs.postgres.database}.public`;

    test('by their name', async () => {
      // Between databases PostgreSQL knows no way at all.
      const refused = { code: isolation === 'schema' ? '42501' : '0A000' };
      const dotted = isolation === 'schema' ? `"${place()}"` : `"${theirs.postgres.database}".public`;
      await expect(attempt(`SELECT amount FROM ${dotted}.secrets`)).rejects.toMatchObject(refused);
      await expect(attempt(`INSERT INTO ${dotted}.secrets VALUES (1)`)).rejects.toMatchObject(refused);
      await expect(attempt(`CREATE TABLE ${dotted}.planted ()`)).rejects.toMatchObject(refused);
      await expect(attempt(`COPY ${dotted}.secrets TO STDOUT`)).rejects.toMatchObject(refused);
    });

    test('by the search path', async () => {
      for (const path of [`SET search_path TO "${other()}"`, `SELECT set_config('search_path', '${other()}', true)`]) {
        await expect(attempt(path, 'SELECT amount FROM secrets')).rejects.toMatchObject({ code: '42P01' });
      }
    });

    test('by becoming them', async () => {
      const role = theirs.postgres.user;
      for (const sql of [`SET ROLE "${role}"`, `SET LOCAL ROLE "${role}"`, `SET SESSION AUTHORIZATION "${role}"`]) {
        await expect(attempt(sql)).rejects.toMatchObject({ code: '42501' });
      }
    });

    test('by our role at their address', async () => {
      const { host, port, database, schema } = theirs.postgres;
      const stranger = { ...ours.postgres, host, port, database, ...(schema ? { schema } : {}) };
      await expect(queryAs(stranger, settings, 'SELECT amount FROM secrets')).rejects.toMatchObject({
        code: expect.stringMatching(isolation === 'schema' ? /^42(P01|501)$/ : /^42501$/),
      });
    });
  });
});

describe('statementTimeout', () => {
  let tenant: TenantConfig;
  beforeAll(async () => {
    tenant = await manager.onboard();
  });
  const withTimeout = async <T>(statementTimeoutMs: number | undefined, work: (db: TenantDatabase) => Promise<T>) => {
    const { maxOpenConns, maxIdleConns } = tenant.limits;
    const limits = { maxOpenConns, maxIdleConns, ...(statementTimeoutMs === undefined ? {} : { statementTimeoutMs }) };
    const opened = await open([{ ...tenant, limits }]);
    try {
      return await work(opened.databases[0] as TenantDatabase);
    } finally {
      await opened.close();
    }
  };
  const shown = (db: Pick<TenantDatabase, 'query'>) => db.query('SHOW statement_timeout');

  test.each([
    [1500, '1500ms'],
    [300_000, '5min'],
    [0, '0'],
    [undefined, '1s'],
  ])(
    'of %j milliseconds is what the server has, not what was only sent to it: %s',
    async (limit, statement_timeout) => {
      expect(await withTimeout(limit, shown)).toEqual([{ statement_timeout }]);
    },
  );

  test('ends a query, and not a bulk transaction', async () => {
    await withTimeout(200, async (db) => {
      await expect(db.query('SELECT pg_sleep(30)')).rejects.toMatchObject({ code: '57014' });
      await db.transaction(async (tx) => {
        await tx.query('SELECT pg_sleep(0.4)');
        expect(await shown(tx)).toEqual([{ statement_timeout: '0' }]);
      });
      expect(await shown(db)).toEqual([{ statement_timeout: '200ms' }]);
    });
  });

  test.each([[20_000], [0]])('of %j milliseconds is not cut short by the process’s own limit', async (limit) => {
    // POSTGRES_QUERY_TIMEOUT_SEC is 1 here.
    await withTimeout(limit, (db) => db.query('SELECT pg_sleep(2.5)'));
  });
});
