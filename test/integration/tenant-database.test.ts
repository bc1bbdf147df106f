import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { remedyFor } from '@matcher/shared/errors.ts';
import { copyRow, inChunks } from '@matcher/shared/postgres/copy-text.ts';
import { type TenantDatabase, tenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { Slots } from '@matcher/shared/slots.ts';
import { Pool, type PoolConfig } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { until } from '../support/fleet.ts';

// What must not wait for ever is seen not to wait long.
vi.setConfig({ testTimeout: 10_000 });

let databases: TestDatabases;
let options: PoolConfig;
let pool: Pool;
let db: TenantDatabase;

beforeAll(async () => {
  databases = await openTestDatabases();
  const { host, port, user, password, database } = (await databases.create()).postgres;
  // One connection for transactions, and one for everything else: what is not given back is missed at once.
  options = { host, port, user, password, database, max: 2, statement_timeout: 1000 };
  pool = new Pool(options);
  pool.on('error', () => {});
  db = tenantDatabase(pool, new Slots(1), 30_000);
  await db.query('CREATE TABLE lines (n integer PRIMARY KEY)');
});
afterAll(async () => {
  await pool.end();
  await databases.close();
});
beforeEach(() => db.query('TRUNCATE lines'));

const stored = async () => (await db.query<{ n: number }>('SELECT n FROM lines ORDER BY n')).map(({ n }) => n);
const sleepers = () =>
  databases.ask('SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = $2', [options.database, 'PgSleep']);
/** More rows than any buffer on the way holds. */
const endless = `COPY (SELECT generate_series(1, 10000000), repeat('x', 1000)) TO STDOUT`;

/** The same bytes, each in a packet of its own. */
async function* byteByByte(source: AsyncIterable<Buffer>) {
  for await (const chunk of source) {
    for (const byte of chunk) {
      await setImmediate();
      yield Buffer.of(byte);
    }
  }
}

/** The connections are all there and work. */
async function expectHealthy() {
  await db.transaction(async (tx) => {
    await tx.query('INSERT INTO lines VALUES (1000)');
    await db.query('SELECT 1');
  });
  expect(await stored()).toContain(1000);
}

test('a transaction is committed when its work returns, and its result is passed on', async () => {
  const result = await db.transaction(async (tx) => {
    expect(await tx.execute('INSERT INTO lines VALUES (1), (2)')).toBe(2);
    expect(await stored()).toEqual([]);
    return 'done';
  });
  expect(result).toBe('done');
  expect(await stored()).toEqual([1, 2]);
});

test('a transaction whose work throws leaves nothing, and the error is the work’s', async () => {
  const failing = db.transaction(async (tx) => {
    await tx.query('INSERT INTO lines VALUES (1)');
    throw new Error('changed my mind');
  });
  await expect(failing).rejects.toThrow('changed my mind');
  expect(await stored()).toEqual([]);
});

test('a transaction that the database has given up is never taken for committed', async () => {
  const swallowing = db.transaction(async (tx) => {
    await tx.query('INSERT INTO lines VALUES (1)');
    await tx.query('INSERT INTO lines VALUES (1)').catch(() => {});
    return 'done';
  });
  await expect(swallowing).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' });
  expect(await stored()).toEqual([]);
  await expectHealthy();
});

test('bulk statements may take longer than a query, which has its limit back afterwards', async () => {
  await db.transaction((tx) => tx.query('SELECT pg_sleep(1.2)'));
  await expect(db.query('SELECT pg_sleep(2)')).rejects.toMatchObject({ code: '57014' });
});

describe('a connection that breaks fails its transaction alone, as the moment’s fault and not the work’s; the next one gets a new connection', () => {
  const kill = async (pid: number) => {
    await databases.ask('SELECT pg_terminate_backend($1)', [pid]);
    await until(async () => (await databases.ask('SELECT FROM pg_stat_activity WHERE pid = $1', [pid])).length === 0);
  };
  const ways: [string, (tx: Transaction, pid: number) => Promise<unknown>][] = [
    ['during a statement', (tx, pid) => Promise.all([tx.query('SELECT pg_sleep(60)'), kill(pid)])],
    ['between two statements', async (tx, pid) => tx.query('SELECT 1', await kill(pid).then(() => []))],
    ['before its commit', (_tx, pid) => kill(pid)],
    [
      'during a COPY into it',
      (tx, pid) =>
        tx.copyIn(
          'COPY lines FROM STDIN',
          (async function* () {
            for (let n = 0; ; n++) {
              if (n === 100) await kill(pid);
              yield copyRow([n]);
            }
          })(),
        ),
    ],
    [
      'during a COPY out of it',
      async (tx, pid) => {
        let begun = false;
        for await (const _chunk of tx.copyOut(endless).stream) {
          if (!begun) await kill(pid);
          begun = true;
        }
      },
    ],
  ];

  test.each(ways)('%s', async (_when, work) => {
    const broken = db.transaction(async (tx) => {
      const [backend] = await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await work(tx, backend?.pid as number);
    });
    const error = await broken.catch((error) => error);
    expect(error).toBeInstanceOf(Error);
    expect([error.message, remedyFor(error)]).toEqual([error.message, 'not-now']);
    await expectHealthy();
  });
});

test('an abort ends the statement that runs, and the connection goes on to the next', async () => {
  const abort = new AbortController();
  const cancelled = db.transaction(async (tx) => {
    const sleeping = tx.query('SELECT pg_sleep(60)');
    sleeping.catch(() => {});
    await until(async () => (await sleepers()).length > 0);
    abort.abort();
    await sleeping;
  }, abort.signal);
  await expect(cancelled).rejects.toMatchObject({ code: '57014' });
  await expectHealthy();
});

test('an abort between two statements: the next one is not begun', async () => {
  const abort = new AbortController();
  const cancelled = db.transaction(async (tx) => {
    await tx.query('INSERT INTO lines VALUES (1)');
    abort.abort(new Error('time is up'));
    await tx.query('SELECT pg_sleep(60)');
  }, abort.signal);
  await expect(cancelled).rejects.toThrow('time is up');
  expect(await stored()).toEqual([]);
  await expectHealthy();
});

describe('COPY in', () => {
  const copyIn = (source: AsyncIterable<string> | Iterable<string>, signal?: AbortSignal) =>
    db.transaction((tx) => tx.copyIn('COPY lines FROM STDIN', source), signal);

  test('takes a stream of any length', async () => {
    const rows = function* () {
      for (let n = 0; n < 200_000; n++) yield copyRow([n]);
    };
    expect(await copyIn(inChunks(rows()))).toBe(200_000);
    expect(await db.query('SELECT count(*)::int AS count FROM lines')).toEqual([{ count: 200_000 }]);
  });

  test('of a source that fails in the middle leaves nothing', async () => {
    const rows = async function* () {
      yield '1\n';
      throw new Error('the file ends here');
    };
    await expect(copyIn(rows())).rejects.toThrow('the file ends here');
    expect(await stored()).toEqual([]);
    await expectHealthy();
  });

  test('of a row that the database refuses leaves nothing, and reads no further', async () => {
    const rows = async function* () {
      yield 'not a number\n';
      // As a file is read: a piece with each turn of the event loop, without an end.
      for (;;) {
        await setImmediate();
        yield '1\n'.repeat(32_000);
      }
    };
    await expect(copyIn(rows())).rejects.toMatchObject({ code: '22P02' });
    await expectHealthy();
  });

  test('of a source that never comes is ended by an abort', async () => {
    const abort = new AbortController();
    const source = new Readable({ read: () => abort.abort() });
    await expect(copyIn(source, abort.signal)).rejects.toThrow();
    expect(await stored()).toEqual([]);
    await expectHealthy();
  });
});

describe('COPY out', () => {
  test('gives every row and counts them at its end', async () => {
    await db.query('INSERT INTO lines SELECT generate_series(1, 1000)');
    const [text, rows] = await db.transaction(async (tx) => {
      const copy = tx.copyOut('COPY (SELECT n FROM lines ORDER BY n) TO STDOUT');
      const chunks = await Array.fromAsync(copy.stream as AsyncIterable<Buffer>);
      return [Buffer.concat(chunks).toString(), copy.rows()];
    });
    expect(rows).toBe(1000);
    expect(text).toBe(Array.from({ length: 1000 }, (_, i) => `${i + 1}\n`).join(''));
  });

  test('knows the number of rows at its end, however the network cuts the answer', async () => {
    await db.query('INSERT INTO lines VALUES (1), (2), (3)');
    const relay = createServer((near) => {
      const far = connect({ host: options.host as string, port: options.port as number, noDelay: true });
      near.setNoDelay().pipe(far);
      Readable.from(byteByByte(far)).pipe(near);
      for (const socket of [near, far]) socket.on('error', () => {});
    });
    await once(relay.listen(0, '127.0.0.1'), 'listening');
    const slow = new Pool({ ...options, host: '127.0.0.1', port: (relay.address() as AddressInfo).port });
    const rows = await tenantDatabase(slow, new Slots(1), 30_000).transaction(async (tx) => {
      const copy = tx.copyOut('COPY lines TO STDOUT');
      await Array.fromAsync(copy.stream);
      return copy.rows();
    });
    await slow.end();
    relay.close();
    expect(rows).toBe(3);
  });

  test('whose reader fails in the middle ends the transaction at once', async () => {
    const failing = db.transaction(async (tx) => {
      await pipeline(tx.copyOut(endless).stream, async (rows) => {
        for await (const _ of rows) throw new Error('the bucket is full');
      });
    });
    await expect(failing).rejects.toThrow('the bucket is full');
    await expectHealthy();
  });

  test('that nobody reads to its end fails the transaction instead of holding it for ever', async () => {
    const forgetting = db.transaction(async (tx) => {
      await once(tx.copyOut(endless).stream, 'readable');
    });
    await expect(forgetting).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' });
    await expectHealthy();
  });

  test('is ended by an abort, also when its reader does not read', async () => {
    const abort = new AbortController();
    const cancelled = db.transaction(async (tx) => {
      const { stream } = tx.copyOut(endless);
      await once(stream, 'readable');
      abort.abort(new Error('time is up'));
      await finished(stream, { signal: abort.signal });
    }, abort.signal);
    await expect(cancelled).rejects.toThrow();
    await expectHealthy();
  });

  test('of a statement that the database refuses fails with its error', async () => {
    const refused = db.transaction((tx) => Array.fromAsync(tx.copyOut('COPY (SELECT 1/0) TO STDOUT').stream));
    await expect(refused).rejects.toMatchObject({ code: '22012' });
    await expectHealthy();
  });
});
