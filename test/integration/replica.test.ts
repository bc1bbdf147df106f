import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { Completion } from '@matcher/shared/jobs/definition.ts';
import { createS3Client } from '@matcher/shared/objects/tenant-objects.ts';
import { TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { type PostgresTarget, singleTenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { leaseScope } from '@matcher/shared/tenancy/tenant-scope.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { exportRun } from '../../workers/export/export-run.ts';
import { newTenantId } from '../support/databases.ts';
import { until } from '../support/fleet.ts';
import { canStandby, type Standby, startStandby } from '../support/standby.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { testLog } from '../support/test-log.ts';

describe.skipIf(!canStandby)('a tenant with a replica', () => {
  const settings = loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false' });
  const s3 = createS3Client(settings);
  const redis = new Redis({ lazyConnect: true });
  /** The one whose the database is. */
  const tenantId = newTenantId();
  let servers: Standby;
  const atEnd: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    servers = await startStandby();
    await (await open()).close();
    await servers.ask(
      servers.primary,
      `CREATE TABLE moments (n integer); INSERT INTO contexts (name, type, definition) VALUES ('bank', '1:1', '{}')`,
    );
    await servers.caughtUp();
  }, 60_000);
  afterEach(async () => {
    for (const end of atEnd.splice(0).reverse()) await end();
  });
  afterAll(async () => {
    s3.destroy();
    redis.disconnect();
    await servers?.close();
  });

  /** A scope of the tenant in pools of its own, so that what one test found out about the replica is not known in the next. */
  async function open(replica: PostgresTarget | undefined = servers.replica) {
    const { replica: _none, ...single } = singleTenantConfig(settings);
    const config = { ...single, tenantId, postgres: servers.primary, ...(replica ? { replica } : {}) };
    const answer = async () => config;
    const source = { config: answer, refresh: answer, forget() {} } as Partial<TenantSource> as TenantSource;
    const { log, lines } = testLog();
    const pools = new TenantPools(source, settings, log);
    const { scope, release } = await leaseScope({ pools, s3, redis, settings }, tenantId, async () => {}, log);
    const close = async () => {
      release();
      await pools.closeAll();
    };
    atEnd.push(close);
    return {
      scope,
      close,
      /** What was said about the replica that could not be used. */
      complaints: () => lines.filter((line) => line.includes('the tenant’s replica')).map((line) => JSON.parse(line)),
      lines,
    };
  }

  const onReplica = async (tx: Transaction) =>
    (await tx.query<{ replica: boolean }>('SELECT pg_is_in_recovery() AS replica'))[0]?.replica;
  const connections = (target: PostgresTarget) =>
    servers.ask(target, `SELECT query FROM pg_stat_activity WHERE application_name = 'matcher'`);

  async function runExport({ scope, lines }: Awaited<ReturnType<typeof open>>) {
    const body = { version: 1, context: 'bank', report: 'MATCHED', format: 'CSV' } as const;
    const job = { id: randomUUID(), attempt: 1, body, signal: new AbortController().signal, progress() {} };
    const complete = (await exportRun.run(job, scope)) as Completion<'export.run'>;
    const result = await scope.db.transaction(complete);
    return { result, log: JSON.parse(lines.find((line) => line.includes('"msg":"exported"')) ?? '{}') };
  }

  test('an export is read from the replica, and recorded on the primary', async () => {
    const tenant = await open();
    const { result, log } = await runExport(tenant);
    expect(log).toMatchObject({ replica: true, rows: 0 });
    expect(await tenant.scope.objects.size(result.objectKey)).toBe(result.bytes);
    expect(
      await tenant.scope.db.query('SELECT object_key FROM exports WHERE object_key = $1', [result.objectKey]),
    ).toEqual([{ object_key: result.objectKey }]);
    expect(tenant.complaints()).toEqual([]);
  });

  test('what was committed just before is never missing in what the replica gives', async () => {
    const { scope, complaints } = await open();
    for (let n = 1; n <= 20; n++) {
      await scope.db.query('INSERT INTO moments VALUES ($1)', [n]);
      const [found] = await scope.snapshot((tx) =>
        tx.query('SELECT max(n) AS n, pg_is_in_recovery() AS replica FROM moments'),
      );
      expect(found).toEqual({ n, replica: true });
    }
    expect(complaints()).toEqual([]);
  });

  test('a replica that is a little behind is waited for', async () => {
    const { scope, complaints } = await open();
    await servers.ask(servers.replica, 'SELECT pg_wal_replay_pause()');
    await scope.db.query('INSERT INTO moments VALUES (30)');
    const reading = scope.snapshot((tx) => tx.query('SELECT max(n) AS n, pg_is_in_recovery() AS replica FROM moments'));
    // It has been asked how far it is, and can't have had the row.
    await until(async () =>
      (await connections(servers.replica)).some(({ query }) => /replay_lsn|moments|DISCARD/.test(query)),
    );
    await servers.ask(servers.replica, 'SELECT pg_wal_replay_resume()');
    expect(await reading).toEqual([{ n: 30, replica: true }]);
    expect(complaints()).toEqual([]);
  });

  test('its statements see one state of the database, and can’t write', async () => {
    const { scope } = await open();
    await scope.snapshot(async (tx) => {
      const before = await tx.query('SELECT count(*) AS count FROM moments');
      await scope.db.query('INSERT INTO moments VALUES (0)');
      await servers.caughtUp();
      expect(await tx.query('SELECT count(*) AS count FROM moments')).toEqual(before);
    });
    for (const database of [scope, (await open(undefined)).scope]) {
      await expect(database.snapshot((tx) => tx.query('INSERT INTO moments VALUES (-1)'))).rejects.toMatchObject({
        code: '25006',
      });
    }
  });

  test('is connected to when it is used first, and no longer when its tenant’s pool is closed', async () => {
    const { scope, close } = await open();
    expect(await connections(servers.replica)).toEqual([]);
    await scope.snapshot(onReplica);
    expect(await connections(servers.replica)).not.toEqual([]);
    await close();
    await until(async () => (await connections(servers.replica)).length === 0);
  });

  test('nothing is left in a session on the replica either', async () => {
    const { scope } = await open();
    const pid = await scope.snapshot(async (tx) => {
      await tx.query(`SET work_mem TO '1MB'`);
      await tx.query('SELECT pg_advisory_lock(1)');
      return (await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid'))[0]?.pid;
    });
    await until(async () => {
      const [found] = await scope.snapshot((tx) =>
        tx.query<{ pid: number; left: boolean }>(
          `SELECT pg_backend_pid() AS pid, current_setting('work_mem') = '1MB' OR EXISTS (
             SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS left`,
        ),
      );
      expect(found?.left).toBe(false);
      return found?.pid === pid;
    });
  });

  describe('the primary is read instead, with one complaint', () => {
    async function expectPrimary(replica: PostgresTarget | undefined, complaint: object) {
      const { scope, complaints } = await open(replica);
      await scope.db.query('INSERT INTO moments VALUES (100)');
      for (let i = 0; i < 3; i++) {
        const [found] = await scope.snapshot((tx) =>
          tx.query('SELECT max(n) AS n, pg_is_in_recovery() AS replica FROM moments'),
        );
        expect(found).toEqual({ n: 100, replica: false });
      }
      expect(complaints()).toEqual([expect.objectContaining({ level: 'warn', ...complaint })]);
      // The replica's failure is no failure of the tenant.
      expect(await scope.db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    }

    test('of a replica that is too far behind', async () => {
      await servers.ask(servers.replica, 'SELECT pg_wal_replay_pause()');
      try {
        await expectPrimary(servers.replica, { code: 'REPLICA_BEHIND' });
      } finally {
        await servers.ask(servers.replica, 'SELECT pg_wal_replay_resume()');
        await servers.caughtUp();
      }
      expect(await (await open()).scope.snapshot(onReplica)).toBe(true);
    });

    test('of a replica that is none', async () => {
      await expectPrimary({ ...servers.primary, host: 'localhost' }, { code: 'REPLICA_UNFIT' });
    });

    test('of a replica that refuses the password', async () => {
      await expectPrimary({ ...servers.replica, password: 'wrong' }, { code: '28P01' });
    });

    test('of a replica where nobody listens', async () => {
      await expectPrimary({ ...servers.replica, port: 1 }, { code: 'ECONNREFUSED' });
    });

    test('of a replica that says nothing', async () => {
      const proxy = await startTcpProxy(servers.replica.host, servers.replica.port);
      proxy.mode = 'swallow';
      atEnd.push(() => proxy.close());
      await expectPrimary({ ...servers.replica, port: proxy.port }, { reason: expect.stringContaining('timeout') });
    }, 20_000);

    test('of a replica whose certificate can’t be read', async () => {
      await expectPrimary(
        { ...servers.replica, sslmode: 'verify-full', sslrootcert: '/nowhere/ca.pem' },
        { code: 'CERTIFICATE_UNREADABLE' },
      );
    });

    test('of a replica with an sslmode that there is not', async () => {
      await expectPrimary({ ...servers.replica, sslmode: 'prefer' }, { code: 'SERVICE_NOT_CONFIGURED' });
    });
  });

  describe('in the middle of the reading', () => {
    const endless = `COPY (SELECT generate_series(1, 10000000), repeat('x', 1000)) TO STDOUT`;

    test('a replica that breaks off makes the reading begin again on the primary', async () => {
      const { scope, complaints } = await open();
      const places: unknown[] = [];
      const rows = await scope.snapshot(async (tx) => {
        places.push(await onReplica(tx));
        if (places.length > 1) return await tx.query('SELECT 7 AS n');
        const [{ pid }] = (await tx.query('SELECT pg_backend_pid() AS pid')) as [{ pid: number }];
        const { stream } = tx.copyOut(endless);
        await once(stream, 'readable');
        await servers.ask(servers.replica, `SELECT pg_terminate_backend(${pid})`);
        for await (const _chunk of stream);
        return [];
      });
      expect(rows).toEqual([{ n: 7 }]);
      expect(places).toEqual([true, false]);
      expect(complaints()).toHaveLength(1);
    });

    test('what the reading itself has found out is not found out twice', async () => {
      const { scope, complaints } = await open();
      let times = 0;
      const reading = scope.snapshot(async () => {
        times++;
        throw new MatcherError('CONTEXT_NOT_FOUND', 'There is no such context');
      });
      await expect(reading).rejects.toMatchObject({ code: 'CONTEXT_NOT_FOUND' });
      expect(times).toBe(1);
      expect(complaints()).toEqual([]);
    });

    test('a reading that was told to end is not begun again', async () => {
      const { scope, complaints } = await open();
      const abort = new AbortController();
      let times = 0;
      const reading = scope.snapshot(async (tx) => {
        times++;
        const { stream } = tx.copyOut(endless);
        await once(stream, 'readable');
        abort.abort(new Error('time is up'));
        for await (const _chunk of stream);
      }, abort.signal);
      await expect(reading).rejects.toThrow();
      expect(times).toBe(1);
      expect(complaints()).toEqual([]);
      expect(await scope.snapshot(onReplica)).toBe(true);
    });

    test('a replica that crashes makes an export come from the primary', async () => {
      const tenant = await open();
      expect(await tenant.scope.snapshot(onReplica)).toBe(true);
      await servers.kill();
      const { log } = await runExport(tenant);
      expect(log).toMatchObject({ replica: false });
      expect(tenant.complaints()).toHaveLength(1);
    });
  });
});
