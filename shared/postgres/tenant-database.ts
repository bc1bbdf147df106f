import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';

/** The tenant's database, as a job's handler sees it. */
export interface TenantDatabase {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /**
   * Runs `work` in one transaction: committed when it returns, rolled back when it throws. Statements in it may take as long as they need,
   * since bulk work is done here.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
}

export interface Transaction {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /** As `query`, with the number of rows that the statement touched. */
  execute(sql: string, values?: unknown[]): Promise<number>;
  /** `COPY … FROM STDIN`; returns the number of rows. */
  copyIn(sql: string, source: AsyncIterable<string | Buffer> | Iterable<string | Buffer>): Promise<number>;
  /** `COPY … TO STDOUT` as a stream of bytes; `rows()` is known at its end. */
  copyOut(sql: string): { stream: Readable; rows(): number };
}

export function tenantDatabase(pool: Pool): TenantDatabase {
  return {
    async query(sql, values) {
      return (await pool.query(sql, values)).rows;
    },
    async transaction(work) {
      const client = await pool.connect();
      // A connection that breaks inside a transaction also raises an event; the query's own error is the one that is reported.
      const ignore = () => {};
      client.on('error', ignore);
      let broken = false;
      try {
        await client.query('BEGIN; SET LOCAL statement_timeout = 0');
        const result = await work(transaction(client));
        await client.query('COMMIT');
        return result;
      } catch (error) {
        await client.query('ROLLBACK').catch(() => {
          broken = true;
        });
        throw error;
      } finally {
        client.off('error', ignore);
        client.release(broken);
      }
    },
  };
}

function transaction(client: PoolClient): Transaction {
  return {
    async query(sql, values) {
      return (await client.query(sql, values)).rows;
    },
    async execute(sql, values) {
      return (await client.query(sql, values)).rowCount ?? 0;
    },
    async copyIn(sql, source) {
      const stream = client.query(copyFrom(sql));
      await pipeline(Readable.from(source), stream);
      return stream.rowCount ?? 0;
    },
    copyOut(sql) {
      const stream = client.query(copyTo(sql));
      return { stream, rows: () => stream.rowCount ?? 0 };
    },
  };
}
