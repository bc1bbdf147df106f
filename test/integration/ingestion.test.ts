import { randomUUID } from 'node:crypto';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { rejectRepeated } from '../../workers/ingest/load.ts';
import { csv, load, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

let fleet: TestFleet;
let tenant: TestTenant;
/** Stands between the workers and the object storage. */
let storage: TcpProxy;

beforeAll(async () => {
  const { hostname, port } = new URL(process.env.OBJECT_STORAGE_ENDPOINT as string);
  storage = await startTcpProxy(hostname, Number(port));
  fleet = await startFleet({ overrides: { OBJECT_STORAGE_ENDPOINT: `http://127.0.0.1:${storage.port}` } });
});
afterAll(async () => {
  await fleet?.close();
  await storage?.close();
});

beforeEach(async () => {
  tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
});

const header = 'id,amount,currency,date,text,ref';
const transactions = () =>
  tenant.query(
    'SELECT external_id, amount::text, currency, occurred_at, description, metadata FROM transactions ORDER BY id',
  );

/** Expects that a file fails with that code and leaves nothing behind but the job's own record. */
async function refused(content: string | Buffer, code: string, format: 'CSV' | 'JSON' = 'CSV') {
  const end = await load(tenant, 'ledger', content as string, format);
  expect(end).toMatchObject({ state: 'FAILED', error: { code } });
  for (const table of ['transactions', 'loads', 'rejected_records']) {
    expect(await tenant.query(`SELECT 1 FROM ${table}`)).toEqual([]);
  }
  return end;
}

describe('a file', () => {
  test('becomes transactions, exact and with every other column as metadata', async () => {
    const end = await load(
      tenant,
      'ledger',
      [header, 'a,123456789012.12345678,eur,2026-01-31T23:30:00-03:00,"=SUM(A1), ""quoted""\nand broken", R 1 '].join(
        '\n',
      ),
    );
    expect(end).toMatchObject({ state: 'SUCCEEDED', result: { records: 1, added: 1, known: 0, rejected: 0 } });
    expect(await transactions()).toEqual([
      {
        external_id: 'a',
        amount: '123456789012.12345678',
        currency: 'EUR',
        occurred_at: new Date('2026-02-01T02:30:00Z'),
        description: '=SUM(A1), "quoted"\nand broken',
        metadata: { ref: ' R 1 ' },
      },
    ]);
  });

  test('of JSON keeps the digits of its numbers', async () => {
    const content =
      '[{"id": 7, "amount": 1.10, "currency": "EUR", "date": "2026-01-15", "fee": 0.30, "nested": {"n": 1.50}}]';
    expect(await load(tenant, 'ledger', content, 'JSON')).toMatchObject({ state: 'SUCCEEDED' });
    expect(await transactions()).toMatchObject([
      { external_id: '7', amount: '1.10000000', metadata: { fee: '0.30', nested: { n: '1.50' } } },
    ]);
  });

  test('with a byte order mark and carriage returns is read as what it says', async () => {
    const content = `\uFEFF${csv([{ id: 'a', amount: '1', ref: 'R' }]).replaceAll('\n', '\r\n')}`;
    expect(await load(tenant, 'ledger', content)).toMatchObject({ state: 'SUCCEEDED', result: { added: 1 } });
  });

  test('loaded twice adds nothing the second time', async () => {
    const content = csv([
      { id: 'a', amount: '1.5', ref: 'R1' },
      { id: 'b', amount: '-2', ref: 'R2' },
    ]);
    await load(tenant, 'ledger', content);
    expect(await load(tenant, 'ledger', content)).toMatchObject({
      state: 'SUCCEEDED',
      result: { records: 2, added: 0, known: 2, rejected: 0 },
    });
    expect(await transactions()).toHaveLength(2);
    expect(await tenant.query('SELECT records FROM loads')).toEqual([{ records: 2 }]);
  });

  test('loaded twice at once adds its records once', async () => {
    const content = csv(Array.from({ length: 500 }, (_, i) => ({ id: `a${i}`, amount: '1', ref: `R${i}` })));
    const ends = await Promise.all([1, 2, 3].map(() => load(tenant, 'ledger', content)));
    const added = ends.map((end) => (end.state === 'SUCCEEDED' ? end.result.added : -1));
    expect(added.toSorted((a, b) => b - a)).toEqual([500, 0, 0]);
    expect(await transactions()).toHaveLength(500);
  });

  test('with bad records reports each with its row, field and reason, and loads the rest', async () => {
    const rows = [
      'ok-1,1.00,EUR,2026-01-15,,R1',
      ',1.00,EUR,2026-01-15,,R2',
      'no-number,1.234.567,EUR,2026-01-15,,R3',
      'exponent,1e3,EUR,2026-01-15,,R4',
      'too-precise,0.123456789,EUR,2026-01-15,,R5',
      'no-amount,,EUR,2026-01-15,,R6',
      'currency,1.00,XYZ,2026-01-15,,R7',
      'impossible,1.00,EUR,2026-02-30,,R8',
      'no-date,1.00,EUR,15/01/2026,,R9',
      'short,1.00,EUR',
      'ok-1,1.00,EUR,2026-01-15,,R1',
      'ok-2,2.00,EUR,2026-01-15,,R12',
    ];
    const end = await load(tenant, 'ledger', [header, ...rows, ''].join('\n'));
    expect(end).toMatchObject({ state: 'SUCCEEDED', result: { records: 12, added: 2, known: 0, rejected: 10 } });
    const rejected = await tenant.query('SELECT row, field, code, reason FROM rejected_records ORDER BY row');
    expect(rejected.map(({ row, field, code }) => [row, field, code])).toEqual([
      [2, 'external_id', 'FIELD_MISSING'],
      [3, 'amount', 'NOT_A_NUMBER'],
      [4, 'amount', 'NOT_A_NUMBER'],
      [5, 'amount', 'NOT_A_NUMBER'],
      [6, 'amount', 'FIELD_MISSING'],
      [7, 'currency', 'CURRENCY_UNKNOWN'],
      [8, 'date', 'DATE_INVALID'],
      [9, 'date', 'DATE_INVALID'],
      [10, null, 'RECORD_UNREADABLE'],
      [11, 'external_id', 'DUPLICATE_IN_FILE'],
    ]);
    if (end.state === 'SUCCEEDED') expect(end.result.rejectedSample).toHaveLength(10);
    expect((await transactions()).map(({ external_id }) => external_id)).toEqual(['ok-1', 'ok-2']);
  });

  test('that repeats an id within itself keeps the first and reports the others: none is lost, none is twice', async () => {
    const content = csv([
      { id: 'a', amount: '1', ref: 'R1' },
      { id: 'a', amount: '2', ref: 'R2' },
      { id: 'a', amount: '1', ref: 'R1' },
    ]);
    expect(await load(tenant, 'ledger', content)).toMatchObject({ result: { added: 1, rejected: 2 } });
    expect(await transactions()).toMatchObject([{ external_id: 'a', amount: '1.00000000' }]);
  });

  test('that changes a loaded record is reported; the loaded one stays as it is', async () => {
    await load(tenant, 'ledger', csv([{ id: 'a', amount: '1', ref: 'R1' }]));
    const end = await load(
      tenant,
      'ledger',
      csv([
        { id: 'a', amount: '2', ref: 'R1' },
        { id: 'b', amount: '1', ref: 'R2' },
      ]),
    );
    expect(end).toMatchObject({
      result: { added: 1, rejected: 1, rejectedSample: [{ row: 1, code: 'CHANGED_RECORD' }] },
    });
    expect((await transactions()).map(({ amount }) => amount)).toEqual(['1.00000000', '1.00000000']);
  });

  test('with records that the database would refuse rejects each of them and loads the rest', async () => {
    const good = { amount: '1', currency: 'EUR', date: '2026-01-15' };
    const nested = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
    const content = [
      { id: 'ok-1', ...good, ref: 'C:\\u0000x' },
      { id: 'late', ...good, date: '9999-12-31T23:00:00-02:00' },
      { id: 'half', ...good, text: '\ud83d' },
      { id: 'half-key', ...good, '\udc00': 'x' },
      { id: 'nul', ...good, ref: 'a\0' },
      { id: 'nested', ...good, ref: 'NESTED' },
      { id: 'ok-2', ...good, ...JSON.parse('{"__proto__": {"ref": "R"}}') },
    ];
    const end = await load(
      tenant,
      'ledger',
      JSON.stringify(content.with(6, { id: 'ok-2', ...good, ref: 'PROTO' }))
        .replace('"NESTED"', nested)
        .replace('"ref":"PROTO"', '"__proto__":"kept"'),
      'JSON',
    );
    expect(end).toMatchObject({ state: 'SUCCEEDED', result: { records: 7, added: 2, known: 0, rejected: 5 } });
    expect(await tenant.query('SELECT row, code FROM rejected_records ORDER BY row')).toEqual([
      { row: 2, code: 'DATE_INVALID' },
      { row: 3, code: 'TEXT_INVALID' },
      { row: 4, code: 'TEXT_INVALID' },
      { row: 5, code: 'TEXT_INVALID' },
      { row: 6, code: 'RECORD_UNREADABLE' },
    ]);
    const [first, second] = await transactions();
    expect(first.metadata).toEqual({ ref: 'C:\\u0000x' });
    expect(Object.entries(second.metadata)).toEqual([['__proto__', 'kept']]);
  });

  test('that repeats and changes more records than are kept counts them all and keeps the first', async () => {
    await load(tenant, 'ledger', csv([{ id: 'changed', amount: '1', ref: 'R' }]));
    const lines = Array.from({ length: 12_000 }, () => ({ id: 'a', amount: '1', ref: 'R' }));
    const end = await load(tenant, 'ledger', csv([...lines, { id: 'changed', amount: '2', ref: 'R' }]));
    expect(end).toMatchObject({ result: { records: 12_001, added: 1, known: 0, rejected: 12_000 } });
    expect(
      await tenant.query('SELECT count(*)::int AS kept, min(row) AS first, max(row) AS last FROM rejected_records'),
    ).toEqual([{ kept: 10_000, first: 2, last: 10_001 }]);
  });

  test('that repeats one record without end does not bring every repetition into memory', async () => {
    const client = new Client(connectionOptions(tenant.config.postgres, fleet.settings, 'test'));
    await client.connect();
    let most = 0;
    const tx = {
      async query(sql: string, values?: unknown[]) {
        const { rows } = await client.query(sql, values);
        most = Math.max(most, rows.length);
        return rows;
      },
    } as Transaction;
    try {
      await client.query(
        `CREATE TEMPORARY TABLE incoming AS
           SELECT row, 'a' AS external_id, 1::numeric AS amount, 'EUR' AS currency, now() AS occurred_at,
                  NULL::text AS description, '{}'::jsonb AS metadata,
                  NULL::numeric AS amount_base, NULL::char(3) AS base_currency, NULL::numeric AS fx_rate
             FROM generate_series(1, 50001) AS row`,
      );
      const { count, rejections } = await rejectRepeated(tx, { contextId: 1, sourceId: 1, jobId: 'x' });
      expect({ count, most, kept: rejections.length }).toEqual({ count: 50_000, most: 10_000, kept: 10_000 });
      expect(rejections.at(-1)).toMatchObject({ row: 10_001, reason: expect.stringContaining('record 1 ') });
    } finally {
      await client.end();
    }
  });

  test('that a job was retried after a crash in the middle is loaded once', async () => {
    const id = randomUUID();
    await tenant.objects.put('uploads/again.csv', csv([{ id: 'a', amount: '1', ref: 'R' }]));
    const body = {
      version: 1,
      context: 'bank',
      source: 'ledger',
      objectKey: 'uploads/again.csv',
      format: 'CSV',
    } as const;
    // As a worker leaves it that died in its first attempt.
    await tenant.done('ingestion.run', body, id);
    await tenant.query('DELETE FROM transactions; DELETE FROM loads');
    await tenant.query(
      `UPDATE jobs SET state = 'RUNNING', worker = 'gone', lease_until = now() - interval '1 second', result = NULL WHERE id = $1`,
      [id],
    );
    await tenant.client.publish('ingestion.run', body, { id });
    await until(async () => (await tenant.client.read(id))?.state === 'SUCCEEDED');
    expect(await tenant.client.read(id)).toMatchObject({ attempt: 2, result: { added: 1 } });
    expect(await transactions()).toHaveLength(1);
  });
});

describe('a file that cannot be taken changes nothing and says why:', () => {
  test('no usable record', async () => {
    const end = await refused(`${header}\na,x,EUR,2026-01-15,,R\nb,1,EUR,never,,R\n`, 'NO_USABLE_RECORD');
    expect(end).toMatchObject({ error: { message: expect.stringContaining('record 1') } });
  });
  test('no record at all', () => refused(`${header}\n`, 'NO_USABLE_RECORD'));
  test('empty', () => refused('', 'COLUMNS_MISSING'));
  test('an empty JSON array', () => refused('[]', 'NO_USABLE_RECORD', 'JSON'));
  test('JSON declared as CSV', () => refused('[\n  {"id": "a", "amount": "1"}\n]\n', 'FILE_MALFORMED'));
  test('CSV declared as JSON', () => refused(csv([{ id: 'a', amount: '1', ref: 'R' }]), 'FILE_MALFORMED', 'JSON'));
  test('JSON that is no array', () => refused('{"id":"a"}', 'FILE_MALFORMED', 'JSON'));
  test('JSON that breaks off', () =>
    refused('[{"id":"a","amount":"1","currency":"EUR","date":"2026-01-15"},{"id":', 'FILE_MALFORMED', 'JSON'));
  test('a CSV whose quote is never closed', () =>
    refused(`${header}\na,1,EUR,2026-01-15,ok,R\nb,1,EUR,2026-01-15,"open,R\n`, 'FILE_MALFORMED'));
  test('a column that the field map names is not there', async () => {
    const end = await refused('id,betrag,currency,date,text\na,1,EUR,2026-01-15,x\n', 'COLUMNS_MISSING');
    expect(end).toMatchObject({ error: { message: expect.stringContaining('amount') } });
  });
  test('not UTF-8', () => refused(Buffer.from(`${header}\na,1,EUR,2026-01-15,Caf\xe9,R\n`, 'latin1'), 'FILE_NOT_UTF8'));

  test('an object that is not there, or not this tenant’s', async () => {
    const other = await fleet.tenant();
    await other.objects.put('uploads/theirs.csv', csv([{ id: 'a', amount: '1', ref: 'R' }]));
    const job = (objectKey: string) =>
      tenant.run('ingestion.run', { version: 1, context: 'bank', source: 'ledger', objectKey, format: 'CSV' });
    expect(await job('uploads/theirs.csv')).toMatchObject({ state: 'FAILED', error: { code: 'OBJECT_NOT_FOUND' } });
    expect(await job(`../${other.id}/uploads/theirs.csv`)).toMatchObject({
      state: 'FAILED',
      error: { code: 'OBJECT_KEY_INVALID' },
    });
    expect(await job(`/${other.id}/uploads/theirs.csv`)).toMatchObject({
      state: 'FAILED',
      error: { code: 'OBJECT_KEY_INVALID' },
    });
  });

  test('a source that the context does not have', async () => {
    await tenant.objects.put('x.csv', csv([{ id: 'a', amount: '1', ref: 'R' }]));
    const end = await tenant.run('ingestion.run', {
      version: 1,
      context: 'bank',
      source: 'other',
      objectKey: 'x.csv',
      format: 'CSV',
    });
    expect(end).toMatchObject({ state: 'FAILED', error: { code: 'SOURCE_NOT_FOUND' } });
  });
});

describe('the object storage', () => {
  const job = { version: 1, context: 'bank', source: 'ledger', objectKey: 'x.csv', format: 'CSV' } as const;

  test('gets every connection back from jobs that fail before they read', async () => {
    // Larger than what is read ahead, and more often than the client has connections.
    const lines = Array.from({ length: 50_000 }, () => ({ id: 'a', amount: '1', ref: 'R' }));
    await tenant.objects.put('x.csv', csv(lines));
    for (let i = 0; i < 60; i++) await tenant.run('ingestion.run', { ...job, source: 'other' });
    expect(storage.connections).toBeLessThan(25);
    expect(await tenant.run('ingestion.run', job)).toMatchObject({ state: 'SUCCEEDED' });
  });

  test('that is away puts the job off and costs it no attempt', async () => {
    await tenant.objects.put('x.csv', csv([{ id: 'a', amount: '1', ref: 'R' }]));
    storage.mode = 'refuse';
    storage.cut('reset');
    const id = await tenant.client.publish('ingestion.run', job);
    const putOff = () => fleet.lines.some((line) => line.includes(id) && line.includes('STORAGE_UNAVAILABLE'));
    await until(putOff);
    storage.mode = 'forward';
    expect(await tenant.client.follow<'ingestion.run'>(id)).toMatchObject({ state: 'SUCCEEDED', result: { added: 1 } });
    expect(await tenant.client.read(id)).toMatchObject({ attempt: 1 });
  });

  test('that breaks off in the middle of a file puts the job off; what was read of it is not there', async () => {
    const lines = Array.from({ length: 50_000 }, (_, i) => ({ id: `a${i}`, amount: '1', ref: `R${i}` }));
    await tenant.objects.put('x.csv', csv(lines));
    const id = await tenant.client.publish('ingestion.run', job);
    await until(() => {
      storage.cut('reset');
      return fleet.lines.some((line) => line.includes(id) && line.includes('STORAGE_UNAVAILABLE'));
    });
    const end = await tenant.client.follow<'ingestion.run'>(id);
    expect(end).toMatchObject({ state: 'SUCCEEDED', result: { added: 50_000, known: 0 } });
    expect(await tenant.client.read(id)).toMatchObject({ attempt: 1 });
  });
});
