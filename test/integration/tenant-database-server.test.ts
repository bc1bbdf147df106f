import { setImmediate } from 'node:timers/promises';
import { errorMessage, remedyFor } from '@matcher/shared/errors.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import type { PoolLease } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { lockContext } from '../../workers/matching/find-context.ts';
import { simpleContext } from '../support/contexts.ts';
import { until } from '../support/fleet.ts';
import { openPoolFixture, type PoolFixture } from '../support/pools.ts';
import { type Side, startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** What a tenant's database server, whoever sits in front of it, and other sessions there can do to a process. */

vi.setConfig({ testTimeout: 30_000 });

let fixture: PoolFixture;
let proxy: TcpProxy;
let tenant: TenantConfig;
let lease: PoolLease;
let db: TenantDatabase;

beforeAll(async () => {
  fixture = await openPoolFixture();
  const { host, port } = fixture.configs[0].postgres;
  proxy = await startTcpProxy(host, port);
  const [direct] = fixture.configs;
  tenant = { ...direct, postgres: { ...direct.postgres, host: '127.0.0.1', port: proxy.port } };
});
afterAll(async () => {
  await fixture.close();
  await proxy.close();
});
beforeEach(async () => {
  fixture.source.known.set(tenant.tenantId, tenant);
  lease = await open();
  db = lease.db;
  await db.query('CREATE TABLE IF NOT EXISTS lines (n integer PRIMARY KEY)');
});
afterEach(async () => {
  proxy.watch = undefined;
  proxy.mode = 'forward';
  proxy.cut('reset');
  await fixture.reset();
});

const open = (env: NodeJS.ProcessEnv = {}) => fixture.pools(1, {}, env).lease(tenant.tenantId);
const refused = async (work: Promise<unknown>) =>
  await work.then(
    () => undefined,
    (error) => error,
  );

async function expectHealthy() {
  await db.transaction((tx) => tx.query('SELECT 1'));
  expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
}

const allAreBack = () => until(() => lease.pool.idleCount === lease.pool.totalCount);

/** How often the client has sent something and waited for the answer, on connections that stand. */
async function trips(work: () => Promise<unknown>): Promise<number> {
  await allAreBack();
  let count = 0;
  let last: Side = 'server';
  proxy.watch = (_chunk, from) => {
    if (from === 'client' && last === 'server') count++;
    last = from;
  };
  await work();
  await allAreBack();
  proxy.watch = undefined;
  return count;
}

describe('round trips', () => {
  test('of a query that leaves its session alone: one', async () => {
    expect(await trips(() => db.query('SELECT 1'))).toBe(1);
    expect(await trips(() => db.query('SELECT $1::int', [1]))).toBe(1);
  });

  test('of a transaction: two more than its statements', async () => {
    const work = () =>
      db.transaction(async (tx) => {
        await tx.query('SELECT n FROM lines');
        await tx.execute('DELETE FROM lines WHERE n = $1', [1]);
        await tx.query('SELECT count(*) FROM lines');
      });
    expect(await trips(work)).toBe(5);
    expect(await trips(() => db.snapshot((tx) => tx.query('SELECT n FROM lines')))).toBe(3);
  });

  test('of one that is rolled back: no more', async () => {
    const work = async () => {
      const failing = db.transaction(async (tx) => {
        await tx.query('SELECT n FROM lines');
        await tx.query('SELECT 1/0 FROM lines UNION SELECT 1/0');
      });
      await expect(failing).rejects.toMatchObject({ code: '22012' });
    };
    expect(await trips(work)).toBe(4);
  });

  test('of one that may leave something: one more, which takes it away', async () => {
    expect(await trips(() => db.transaction((tx) => tx.query(`SET work_mem TO '1MB'`)))).toBe(4);
    expect(await trips(() => db.query(`SET work_mem TO '1MB'`))).toBe(2);
  });
});

describe('a server that does not answer', () => {
  test('a query is given up soon after the server itself should have ended it, and the connection with it', async () => {
    lease.release();
    lease = await open({ POSTGRES_QUERY_TIMEOUT_SEC: '1' });
    db = lease.db;
    await db.query('SELECT 1');
    proxy.mode = 'swallow';
    const begun = performance.now();
    const error = await refused(db.query('SELECT 1'));
    expect(errorMessage(error)).toBe('Query read timeout');
    expect(remedyFor(error)).toBe('not-now');
    expect(performance.now() - begun).toBeGreaterThan(1900);
    expect(performance.now() - begun).toBeLessThan(10_000);
    await until(() => lease.pool.totalCount === 0);
    proxy.mode = 'forward';
    await expectHealthy();
  });

  test('one that leaves something in its session, too', async () => {
    lease.release();
    lease = await open({ POSTGRES_QUERY_TIMEOUT_SEC: '1' });
    db = lease.db;
    proxy.mode = 'swallow';
    expect(errorMessage(await refused(db.query(`SET work_mem TO '1MB'`)))).toBe('Query read timeout');
    proxy.mode = 'forward';
    await expectHealthy();
  });
});

describe('an answer that is none', () => {
  /** Changes the next message of this type that the server sends. */
  function corrupt(type: string, change: (message: Buffer) => void): void {
    proxy.watch = (chunk, from) => {
      if (from !== 'server') return;
      for (let at = 0; at + 5 <= chunk.length; at += 1 + chunk.readUInt32BE(at + 1)) {
        if (chunk[at] !== type.charCodeAt(0)) continue;
        proxy.watch = undefined;
        change(chunk.subarray(at));
        return;
      }
    };
  }
  const changes: [string, string, (message: Buffer) => void][] = [
    ['a row of more columns than its message has', 'D', (message) => message.writeInt16BE(30_000, 5)],
    ['a row of fewer than no columns', 'D', (message) => message.writeInt16BE(-1, 5)],
    ['a description of more columns than its message has', 'T', (message) => message.writeInt16BE(30_000, 5)],
    ['a message of no kind', 'D', (message) => message.write('?')],
    ['an authentication of no kind', 'D', (message) => message.write('R')],
    ['an invitation to COPY', 'T', (message) => message.write('G')],
  ];

  test.each(changes)('%s fails its query and ends its connection, not the process', async (_name, type, change) => {
    for (const ask of [
      () => db.query('SELECT 1 AS one'),
      () => db.query('SHOW work_mem'),
      () => db.transaction((tx) => tx.query('SELECT 1 AS one')),
    ]) {
      corrupt(type, change);
      // Whatever it is that the driver finds wrong.
      const error = await refused(ask());
      expect(error).toBeInstanceOf(Error);
      expect(remedyFor(error)).not.toBe('permanent');
      await expectHealthy();
    }
  });

  test('when a connection is made', async () => {
    proxy.cut('reset');
    await until(() => lease.pool.totalCount === 0);
    corrupt('R', (message) => message.writeInt32BE(99, 5));
    const error = await refused(db.query('SELECT 1'));
    expect(error).toMatchObject({ code: 'DATABASE_ANSWER_UNREADABLE', remedy: 'transient' });
    await expectHealthy();
  });

  test('when a pool is opened: the tenant’s jobs wait', async () => {
    corrupt('R', (message) => message.writeInt32BE(99, 5));
    await expect(open()).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', remedy: 'not-now' });
    await open();
  });

  test('in the middle of a COPY', async () => {
    const reading = db.transaction(async (tx) => {
      corrupt('d', (message) => message.write('R'));
      return await Array.fromAsync(tx.copyOut('COPY (SELECT generate_series(1, 1000)) TO STDOUT').stream);
    });
    expect(remedyFor(await refused(reading))).not.toBe('permanent');
    await expectHealthy();
  });
});

describe('code in the tenant’s database', () => {
  const raising = (using: string) =>
    db.query(`CREATE OR REPLACE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${using}; END $$;
      CREATE OR REPLACE TRIGGER raising BEFORE INSERT ON lines FOR EACH ROW EXECUTE FUNCTION raising()`);
  afterEach(() => db.query('DROP FUNCTION raising CASCADE'));
  const insert = 'INSERT INTO lines VALUES (1)';
  const inserts = [() => db.query(insert), () => db.transaction((tx) => tx.query(insert))];

  test.each(['57P01', '53300', '28000', '08006', '55P03'])(
    'that raises %s is not taken for a server that is away',
    async (code) => {
      await raising(`RAISE 'not true' USING ERRCODE = '${code}'`);
      for (const work of inserts) {
        const error = await refused(work());
        expect([(error as { code: string }).code, remedyFor(error)]).toEqual([code, 'transient']);
      }
    },
  );

  test('that raises an error of megabytes makes nobody keep it', async () => {
    await raising(
      `RAISE '%', repeat('long ', 400000) USING DETAIL = repeat('x', 1000000), COLUMN = repeat('y', 1000000)`,
    );
    for (const work of inserts) {
      const error = (await refused(work())) as Error & Record<string, string>;
      expect(error).toMatchObject({ code: 'P0001', message: expect.stringMatching(/^long .*…$/) });
      for (const text of [error.message, error.stack, error.detail, error.column, error.where]) {
        expect(text?.length ?? 0).toBeLessThan(5000);
      }
    }
    await expectHealthy();
  });
});

describe('a table that somebody has locked', () => {
  /** Holds the table locked while `work` runs. */
  async function whileLocked<T>(work: () => Promise<T>): Promise<T> {
    const holder = await fixture.databases.connect(fixture.configs[0]);
    await holder.query('BEGIN; LOCK TABLE lines');
    try {
      return await work();
    } finally {
      await holder.query('ROLLBACK');
    }
  }

  test('is waited for by a query for less than the query’s own time, and then its job waits', async () => {
    lease.release();
    lease = await open({ POSTGRES_QUERY_TIMEOUT_SEC: '2' });
    db = lease.db;
    const error = await whileLocked(() => refused(db.query('SELECT n FROM lines')));
    expect([(error as { code: string }).code, remedyFor(error)]).toEqual(['55P03', 'not-now']);
    await expectHealthy();
  });

  test('is waited for by bulk work for ten seconds, and not for ever', async () => {
    const begun = performance.now();
    const error = await whileLocked(() => refused(db.transaction((tx) => tx.query('SELECT n FROM lines'))));
    expect([(error as { code: string }).code, remedyFor(error)]).toEqual(['55P03', 'not-now']);
    expect(performance.now() - begun).toBeGreaterThan(9900);
    await expectHealthy();
  });
});

describe('the lock of a context’s run', () => {
  const definition = JSON.stringify(simpleContext());
  beforeEach(async () => {
    await db.query(`INSERT INTO contexts (name, type, definition) VALUES ('bank', '1:1', $1) ON CONFLICT DO NOTHING`, [
      definition,
    ]);
    await db.query('INSERT INTO run_locks SELECT id FROM contexts ON CONFLICT DO NOTHING');
  });

  test('is one run’s at a time, lets loads and new definitions go on, and ends with its transaction', async () => {
    const other = await fixture.databases.connect(fixture.configs[0]);
    await other.query(
      `SELECT pg_advisory_lock(hashtextextended('run of context ' || id || ' in ' || current_schema(), 0)) FROM contexts`,
    );
    await db.transaction(async (tx) => {
      const { id } = await lockContext(tx, 'bank');
      await expect(db.transaction((second) => lockContext(second, 'bank'))).rejects.toMatchObject({
        code: 'CONTEXT_BUSY',
        remedy: 'not-now',
      });
      await db.query(
        `INSERT INTO sources (context_id, name, type, side, field_map) VALUES ($1, $2, 'BANK', 'LEFT', '{}')`,
        [id, `source-${performance.now()}`],
      );
      await db.query('UPDATE contexts SET revision = revision + 1 WHERE id = $1', [id]);
      await setImmediate();
    });
    await db.transaction((tx) => lockContext(tx, 'bank'));
  });

  test('is not asked for in vain: what is not there, or not active, is said', async () => {
    const find = (name: string) => db.transaction((tx) => lockContext(tx, name));
    await expect(find('nobody')).rejects.toMatchObject({ code: 'CONTEXT_NOT_FOUND' });
    await db.query(`UPDATE contexts SET status = 'PAUSED' WHERE name = 'bank'`);
    await expect(find('bank')).rejects.toMatchObject({ code: 'CONTEXT_NOT_ACTIVE' });
    await db.query(`UPDATE contexts SET status = 'ACTIVE' WHERE name = 'bank'`);
  });
});

describe('stopping while a pool is opened', () => {
  test('does not wait for a server that has fallen silent in the middle of it', async () => {
    const fresh = await fixture.databases.create();
    fixture.source.known.set(fresh.tenantId, {
      ...fresh,
      postgres: { ...fresh.postgres, host: '127.0.0.1', port: proxy.port },
    });
    const pools = fixture.pools(1);
    proxy.watch = (chunk) => {
      if (chunk.includes('CREATE TABLE jobs')) proxy.mode = 'swallow';
    };
    const opening = refused(pools.lease(fresh.tenantId));
    await until(() => proxy.mode === 'swallow');
    await pools.closeAll();
    expect(await opening).toMatchObject({ code: 'SHUTTING_DOWN', remedy: 'not-now' });
    expect(pools.state().open).toBe(0);
  });
});
