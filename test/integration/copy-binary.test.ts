import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { WideNumeric } from '@matcher/shared/postgres/copy-binary-numeric.ts';
import { readBinaryRows } from '@matcher/shared/postgres/copy-binary-read.ts';
import { BinaryRows } from '@matcher/shared/postgres/copy-binary-write.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exactAmount } from '../../workers/matching/derived-texts.ts';
import { textAt } from '../../workers/matching/engine/packed-text.ts';
import { FIXED_COLUMNS, idText, OpenColumns } from '../../workers/matching/open-side.ts';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';

let databases: TestDatabases;
let db: TenantDatabase;

beforeAll(async () => {
  databases = await openTestDatabases();
  db = databases.database(await databases.create());
  await db.query(
    `CREATE TABLE cells (id bigint PRIMARY KEY, external_id text NOT NULL, amount numeric(28, 8) NOT NULL, currency char(3) NOT NULL,
                         occurred_at timestamptz NOT NULL, amount_base numeric(28, 8), base_currency char(3), metadata jsonb, reference text,
                         small smallint, letter "char")`,
  );
});
afterAll(() => databases.close());

interface Cells {
  id: bigint;
  external_id: string;
  amount: string;
  currency: string;
  /** Milliseconds since 1970. */
  time: number;
  amount_base: string | null;
  base_currency: string | null;
  reference: string | null;
}

const most = 10n ** 28n - 1n;
const amount = fc
  .oneof(
    fc.bigInt({ min: -most, max: most }),
    fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n }),
    fc.integer({ min: -1_000_000, max: 1_000_000 }).map((cents) => BigInt(cents) * 1_000_000n),
    fc.constantFrom(0n, most, -most, 2n ** 52n, 2n ** 52n + 1n, -(2n ** 52n) - 1n, 1n, -1n),
  )
  .map((units) => formatAmount(units));
// PostgreSQL's text knows every character but NUL.
const text = fc.oneof(
  fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', '')),
  fc.string({ unit: fc.constantFrom('\\', 'N', '.', '\t', '\n', '\r', 'x', '"'), maxLength: 200 }),
);
const currency = fc.constantFrom('EUR', 'USD', 'BRL', 'JPY');
const nullable = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: null });
const rows: fc.Arbitrary<Cells[]> = fc.uniqueArray(
  fc.record({
    id: fc.bigInt({ min: 0n, max: 2n ** 57n }),
    external_id: text,
    amount,
    currency,
    time: fc.integer({ min: Date.UTC(1, 0, 1), max: Date.UTC(9999, 11, 31) }),
    amount_base: nullable(amount),
    base_currency: nullable(currency),
    reference: nullable(text),
  }),
  { selector: ({ id }) => id, minLength: 1, maxLength: 15 },
);

/** As text, which is what the binary format is held against. */
async function insert(cells: readonly Cells[]): Promise<void> {
  await db.query('TRUNCATE cells');
  for (const { id, external_id, amount, currency, time, amount_base, base_currency, reference } of cells) {
    await db.query(
      `INSERT INTO cells (id, external_id, amount, currency, occurred_at, amount_base, base_currency, reference)
       VALUES ($1, $2, $3, $4, to_timestamp(0) + $5::float8 * interval '1 millisecond', $6, $7, $8)`,
      [id, external_id, amount, currency, time, amount_base, base_currency, reference],
    );
  }
}

async function readBack() {
  return await db.transaction(async (tx) => {
    const columns = new OpenColumns(0, ['reference']);
    const { stream } = tx.copyOut(
      `COPY (SELECT ${FIXED_COLUMNS}, reference FROM cells ORDER BY reference NULLS FIRST) TO STDOUT (FORMAT binary)`,
    );
    await readBinaryRows(
      stream,
      (bytes, at, end) => columns.take(0, bytes, at, end),
      () => {},
    );
    return columns.done();
  });
}

test('whatever a transaction holds, the columns hold the same', async () => {
  await fc.assert(
    fc.asyncProperty(rows, async (cells) => {
      await insert(cells);
      const { columns, ids, order, size } = await readBack();
      const { amountBase, baseCurrency, currency } = columns;
      const reference = columns.field('reference');
      const found = Array.from({ length: size }, (_, row) => ({
        id: BigInt(idText(ids, row)),
        external_id: textAt(columns.externalId, row),
        amount: formatAmount(exactAmount(columns.amount, row)),
        currency: currency.names[currency.codes[row] as number],
        time: columns.timestamp[row],
        amount_base: amountBase && amountBase.missing[row] === 0 ? formatAmount(exactAmount(amountBase, row)) : null,
        base_currency: baseCurrency?.names[baseCurrency.codes[row] as number] ?? null,
        // An engine's text is empty where there is none.
        reference: reference === null ? '' : textAt(reference, row),
      }));
      const inOrder = order === undefined ? found : Array.from(order, (row) => found[row]);
      const byId = cells.toSorted((a, b) => (a.id < b.id ? -1 : 1));
      expect(inOrder).toEqual(byId.map((cell) => ({ ...cell, reference: cell.reference ?? '' })));
    }),
    { numRuns: 60 },
  );
});

test('whatever goes in by COPY in binary format, the database holds the same', async () => {
  const json = fc
    .dictionary(fc.string(), fc.string(), { maxKeys: 3 })
    .filter((value) => !JSON.stringify(value).includes('\\u0000'));
  const written = fc.record({
    details: json,
    small: fc.integer({ min: -32_768, max: 32_767 }),
    letter: fc.constantFrom('L', 'R'),
  });
  await fc.assert(
    fc.asyncProperty(rows, fc.array(written, { minLength: 15, maxLength: 15 }), async (cells, more) => {
      const out = new BinaryRows();
      const wide = new WideNumeric();
      const numeric = (value: string) => {
        wide.exact(units(value));
        // In one word where it fits, as columns without large amounts have it.
        const one = units(value);
        if (one <= 2n ** 52n && one >= -(2n ** 52n)) out.numeric(0, Number(one));
        else out.numeric(wide.high, wide.low);
      };
      const bytes = (value: string | null) => (value === null ? out.null() : out.bytes(Buffer.from(value)));
      cells.forEach((cell, i) => {
        const { details, small, letter } = more[i] as (typeof more)[number];
        out.begin(11);
        out.int8(Number(cell.id >> 32n), Number(cell.id & 0xffffffffn));
        bytes(cell.external_id);
        numeric(cell.amount);
        bytes(cell.currency);
        out.time(cell.time);
        if (cell.amount_base === null) out.null();
        else numeric(cell.amount_base);
        bytes(cell.base_currency);
        out.jsonb(JSON.stringify(details));
        bytes(cell.reference);
        out.int2(small);
        out.char(letter.charCodeAt(0));
      });
      await db.query('TRUNCATE cells');
      const count = await db.transaction((tx) => tx.copyIn('COPY cells FROM STDIN (FORMAT binary)', [out.end()]));
      expect(count).toBe(cells.length);
      const found = await db.query<Record<string, unknown>>(
        `SELECT id::text, external_id, trim_scale(amount)::text AS amount, currency, (extract(epoch FROM occurred_at) * 1000)::float8 AS time,
                trim_scale(amount_base)::text AS amount_base, base_currency, reference, metadata AS details, small, letter
           FROM cells ORDER BY cells.id`,
      );
      const expected = cells.map((cell, i) => ({ ...cell, ...more[i], id: `${cell.id}` }));
      expect(found).toEqual(expected.toSorted((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1)));
    }),
    { numRuns: 60 },
  );
});

test('what stays of a piece of the stream is not the driver’s memory', async () => {
  const wide = (i: number) => `${i}`.padStart(40, '0').repeat(1 + (i % 20));
  await db.query('TRUNCATE cells');
  await db.query(
    `INSERT INTO cells (id, external_id, amount, currency, occurred_at, reference)
     SELECT i, repeat(lpad(i::text, 40, '0'), 1 + i % 20), i / 100.0, 'EUR', now(), lpad(i::text, 6, '0') FROM generate_series(0, 29999) AS i`,
  );
  const { columns, size, order } = await readBack();
  expect([size, order]).toEqual([30_000, undefined]);
  for (let row = 0; row < size; row++) {
    if (textAt(columns.externalId, row) !== wide(row)) expect(textAt(columns.externalId, row)).toBe(wide(row));
  }
});

/** Of an amount as `formatAmount` writes it; `parseAmount` takes 20 digits, the column has 28. */
function units(value: string): bigint {
  const [whole = '', decimals = ''] = value.replace('-', '').split('.');
  const size = BigInt(whole + decimals.padEnd(8, '0'));
  return value.startsWith('-') ? -size : size;
}
