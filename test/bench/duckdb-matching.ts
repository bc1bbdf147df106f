import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { textAt } from '../../workers/matching/engine/packed-text.ts';
import type { MadeSide } from './million.ts';

/** The k-th of the left with the k-th of the right that share currency, amount and reference. */
const exact = `
  CREATE OR REPLACE TABLE pairs AS
  WITH l AS (SELECT row, currency, amount, reference,
                    row_number() OVER (PARTITION BY currency, amount, reference ORDER BY id) AS k FROM lefts),
       r AS (SELECT row, currency, amount, reference,
                    row_number() OVER (PARTITION BY currency, amount, reference ORDER BY id) AS k FROM rights)
  SELECT l.row AS l, r.row AS r FROM l JOIN r USING (currency, amount, reference, k)`;

/**
 * Within 0.05 and three days: left records in the one or two buckets of half a unit that they reach, right ones in their own, joined on
 * currency and bucket; of the candidates those that are nearest from both ends. That is one round of what nearest first asks for: it leaves
 * open whose nearest has a nearer one, and of several rounds this is the longest.
 */
const tolerance = `
  CREATE OR REPLACE TABLE pairs AS
  WITH l AS (SELECT row, id, currency, amount, day,
                    unnest(CASE WHEN (amount - 5000000) // 50000000 = (amount + 5000000) // 50000000
                                THEN [amount // 50000000]
                                ELSE [(amount - 5000000) // 50000000, (amount + 5000000) // 50000000] END) AS bucket FROM lefts),
       r AS (SELECT row, id, currency, amount, day, amount // 50000000 AS bucket FROM rights),
       candidates AS (
         SELECT l.row AS l, r.row AS r, l.id AS left_id, r.id AS right_id, abs(l.amount - r.amount) AS difference, abs(l.day - r.day) AS days
           FROM l JOIN r USING (currency, bucket)
          WHERE abs(l.amount - r.amount) <= 5000000 AND abs(l.day - r.day) <= 3)
  SELECT l, r FROM candidates
  QUALIFY row_number() OVER (PARTITION BY l ORDER BY difference, days, left_id, right_id) = 1
      AND row_number() OVER (PARTITION BY r ORDER BY difference, days, left_id, right_id) = 1`;

/** DuckDB in memory on two threads with both sides loaded; a query's time is that of its result as a table. */
export class DuckDbMatching {
  readonly #connection: DuckDBConnection;

  private constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  static async load(left: MadeSide, right: MadeSide): Promise<DuckDbMatching> {
    const instance = await DuckDBInstance.create(':memory:', { threads: '2' });
    const connection = await instance.connect();
    const folder = mkdtempSync(join(tmpdir(), 'matcher-bench-'));
    try {
      for (const [name, side] of Object.entries({ lefts: left, rights: right })) {
        const file = join(folder, `${name}.csv`);
        writeFileSync(file, csvOf(side));
        await connection.run(
          `CREATE TABLE ${name} AS SELECT * FROM read_csv('${file}', header = false, columns = {
             row: 'INTEGER', id: 'VARCHAR', currency: 'VARCHAR', amount: 'BIGINT', day: 'INTEGER', reference: 'VARCHAR'})`,
        );
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
    return new DuckDbMatching(connection);
  }

  /** @returns milliseconds and pairs. */
  async exact(): Promise<{ ms: number; pairs: number }> {
    return this.#timed(exact);
  }

  async tolerance(): Promise<{ ms: number; pairs: number }> {
    return this.#timed(tolerance);
  }

  close(): void {
    this.#connection.closeSync();
  }

  async #timed(sql: string): Promise<{ ms: number; pairs: number }> {
    const started = performance.now();
    await this.#connection.run(sql);
    const ms = performance.now() - started;
    const reader = await this.#connection.runAndReadAll('SELECT count(*) FROM pairs');
    return { ms, pairs: Number(reader.getRows()[0]?.[0]) };
  }
}

function csvOf({ size, externalId, currency, amount, timestamp, reference }: MadeSide): string {
  const lines = Array.from({ length: size }, (_, row) => {
    const day = Math.floor((timestamp[row] as number) / 86_400_000);
    const code = currency.names[currency.codes[row] as number];
    return `${row},${textAt(externalId, row)},${code},${amount.low[row]},${day},${textAt(reference, row)}\n`;
  });
  return lines.join('');
}
