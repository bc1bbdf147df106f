import { copyRow } from '@matcher/shared/postgres/copy-text.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';

let databases: TestDatabases;
let db: TenantDatabase;

beforeAll(async () => {
  databases = await openTestDatabases();
  db = databases.database(await databases.create());
  await db.query('CREATE TABLE cells (row integer PRIMARY KEY, one text, other text, amount numeric)');
});
afterAll(() => databases.close());
beforeEach(() => db.query('TRUNCATE cells'));

type Row = [string | null, string | null];

/** What the database holds after the rows went into it by COPY. */
async function copied(rows: readonly Row[]): Promise<Row[]> {
  await db.transaction(async (tx) => {
    await tx.execute('DELETE FROM cells');
    const count = await tx.copyIn(
      'COPY cells (row, one, other) FROM STDIN',
      rows.map((row, i) => copyRow([i, ...row])),
    );
    expect(count).toBe(rows.length);
  });
  const found = await db.query<{ one: string | null; other: string | null }>(
    'SELECT one, other FROM cells ORDER BY row',
  );
  return found.map(({ one, other }) => [one, other]);
}

test.each<[string, string | null]>([
  ['a tab', 'a\tb'],
  ['a line feed', 'a\nb'],
  ['a carriage return', 'a\r\nb'],
  ['a backslash', 'C:\\new\\table'],
  ['a backslash at the end', 'a\\'],
  ['what looks like null', '\\N'],
  ['what looks like the end of the data', '\\.'],
  ['an octal escape', '\\101'],
  ['nothing', ''],
  ['null', null],
  ['blanks at both ends', '  a  '],
  ['rare control characters', '\u0001\b\v\f\u007f\u0085'],
  ['text of every plane', 'Zürich 東京 😀 e\u0301 \ufeff \u2028'],
  ['quotes and commas', `"a", 'b'; --`],
])('COPY brings in unchanged: %s', async (_what, text) => {
  expect(await copied([[text, 'neighbour']])).toEqual([[text, 'neighbour']]);
  expect(await copied([['neighbour', text]])).toEqual([['neighbour', text]]);
});

test('whatever text a row holds, COPY brings in the same text', async () => {
  // PostgreSQL's text knows every character but NUL.
  const text = fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', ''));
  const awkward = fc.string({ unit: fc.constantFrom('\\', 'N', '.', '\t', '\n', '\r', 'x', '"') });
  const cell = fc.option(fc.oneof(text, awkward), { nil: null });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(cell, cell), { maxLength: 20 }), async (rows) => {
      expect(await copied(rows)).toEqual(rows);
    }),
    { numRuns: 200 },
  );
});

test('a NUL is refused as the data’s fault, and nothing of the file stays', async () => {
  await expect(
    copied([
      ['fine', null],
      ['a\0b', null],
    ]),
  ).rejects.toMatchObject({ code: '22021' });
  expect(await db.query('SELECT * FROM cells')).toEqual([]);
});

test('amounts keep every digit', async () => {
  const amounts = ['0.10', '-123456789012345678901234567890.123456789', '1E-7', '5'];
  await db.transaction((tx) =>
    tx.copyIn(
      'COPY cells (row, amount) FROM STDIN',
      amounts.map((amount, i) => copyRow([i, amount])),
    ),
  );
  const found = await db.query<{ amount: string }>('SELECT amount FROM cells ORDER BY row');
  expect(found.map(({ amount }) => amount)).toEqual([
    '0.10',
    '-123456789012345678901234567890.123456789',
    '0.0000001',
    '5',
  ]);
});
