import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import type { Slots } from '../slots.ts';

/** The tenant's database, as a job's handler sees it. */
export interface TenantDatabase {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /**
   * Runs `work` in one transaction: committed when it returns, rolled back when it throws. Statements in it may take as long as they need,
   * since bulk work is done here; when `signal` is aborted, the one that runs is cancelled.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>, signal?: AbortSignal): Promise<T>;
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

/**
 * @param transactions permits for transactions: fewer than the pool has connections, so that however many bulk transactions run, the short statements
 *   that keep their claims alive and that cancel them get through.
 */
export function tenantDatabase(pool: Pool, transactions: Slots): TenantDatabase {
  return {
    async query(sql, values) {
      return (await pool.query(sql, values)).rows;
    },
    async transaction(work, signal) {
      const leave = await transactions.acquire(signal);
      try {
        return await inTransaction(pool, work, signal);
      } finally {
        leave();
      }
    },
  };
}

async function inTransaction<T>(pool: Pool, work: (tx: Transaction) => Promise<T>, signal?: AbortSignal): Promise<T> {
  const client = await pool.connect();
  // A connection that breaks inside a transaction also raises an event; the query's own error is the one that is reported.
  const ignore = () => {};
  client.on('error', ignore);
  let broken = false;
  let cancelled: Promise<unknown> | undefined;
  const cancel = () => {
    const { processID } = client as PoolClient & { processID: number };
    cancelled = pool.query('SELECT pg_cancel_backend($1)', [processID]).catch(ignore);
  };
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    await client.query('BEGIN; SET LOCAL statement_timeout = 0');
    const result = await work(transaction(client, signal));
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {
      broken = true;
    });
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    client.off('error', ignore);
    // A cancellation that arrives late must not hit whoever gets the connection next.
    await cancelled;
    client.release(broken);
  }
}

function transaction(client: PoolClient, signal: AbortSignal | undefined): Transaction {
  return {
    async query(sql, values) {
      return (await client.query(sql, values)).rows;
    },
    async execute(sql, values) {
      return (await client.query(sql, values)).rowCount ?? 0;
    },
    async copyIn(sql, source) {
      const stream = client.query(copyFrom(sql));
      await pipeline(Readable.from(source), stream, ...(signal ? [{ signal }] : []));
      return stream.rowCount ?? 0;
    },
    copyOut(sql) {
      const stream = client.query(copyTo(sql));
      return { stream, rows: () => stream.rowCount ?? 0 };
    },
  };
}
