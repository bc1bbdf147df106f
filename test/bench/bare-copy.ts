import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Client } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { LoadedSides } from './load-sides.ts';

/** What a run writes, each table with its key. */
const results = { match_groups: 'id', match_items: 'transaction_id', exceptions: 'transaction_id' };
type Table = keyof typeof results;

/** Where the same rows go that a run has written: tables like the tenant's, with the same keys, indexes and checks. */
export const beside = 'beside';

/** Makes the tables; they are empty. */
export async function makeTablesBeside(database: Client): Promise<void> {
  await database.query(`CREATE SCHEMA ${beside}`);
  for (const table of Object.keys(results)) {
    await database.query(`CREATE TABLE ${beside}.${table} (LIKE ${table} INCLUDING ALL)`);
  }
}

export async function emptyTablesBeside(database: Client): Promise<void> {
  await database.query(
    `TRUNCATE ${Object.keys(results)
      .map((table) => `${beside}.${table}`)
      .join(', ')}`,
  );
}

/** What a run has written, in the binary format and the order of the keys. */
export type Written = Record<Table, Buffer[]>;

export async function readWritten(database: Client): Promise<Written> {
  const written = { match_groups: [], match_items: [], exceptions: [] } as Written;
  for (const [table, key] of Object.entries(results)) {
    const stream = database.query(copyTo(`COPY (SELECT * FROM ${table} ORDER BY ${key}) TO STDOUT (FORMAT binary)`));
    for await (const chunk of stream) written[table as Table].push(chunk);
  }
  return written;
}

/** What a run reads of every transaction, whatever its rules. */
const columns = 'id, external_id, amount, currency, occurred_at, amount_base, base_currency';

export interface BareTime {
  ms: number;
  /** Of it, reading what is open, to nowhere. */
  outMs: number;
  /** Of it, writing what was found, and the commit. */
  inMs: number;
  bytesOut: number;
  bytesIn: number;
}

/**
 * The input and output of a run and nothing else, over the drivers: the rows of both loads out, what a run has written in, in one transaction.
 *
 * @param fields that the rules read besides, as SQL.
 */
export async function bareInAndOut(
  database: Client,
  { left, right }: LoadedSides,
  fields: readonly string[],
  written: Written,
): Promise<BareTime> {
  const begin = performance.now();
  await database.query('BEGIN');
  let bytesOut = 0;
  for (const load of [left, right]) {
    const rows = `SELECT ${[columns, ...fields].join(', ')} FROM transactions WHERE id >= ${load}::bigint << 26 AND id < ${load + 1}::bigint << 26`;
    const stream = database.query(copyTo(`COPY (${rows}) TO STDOUT (FORMAT binary)`));
    stream.on('data', (chunk: Buffer) => {
      bytesOut += chunk.length;
    });
    await new Promise((ended, failed) => stream.once('end', ended).once('error', failed));
  }
  const between = performance.now();
  for (const table of Object.keys(results)) {
    const stream = database.query(copyFrom(`COPY ${beside}.${table} FROM STDIN (FORMAT binary)`));
    await pipeline(Readable.from(written[table as Table]), stream);
  }
  await database.query('COMMIT');
  const end = performance.now();
  const bytesIn = Object.values(written)
    .flat()
    .reduce((sum, chunk) => sum + chunk.length, 0);
  return { ms: end - begin, outMs: between - begin, inMs: end - between, bytesOut, bytesIn };
}
