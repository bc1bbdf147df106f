import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { type CopyToStreamQuery, from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { MatcherError } from '../errors.ts';
import type { Slots } from '../slots.ts';
import { leavesSessionAlone, resetSession } from './session-state.ts';

/** The tenant's database, as a job's handler sees it. What a statement leaves in its session is gone before the next use of the connection. */
export interface TenantDatabase {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /**
   * Runs `work` in one transaction: committed when it returns, rolled back when it throws. Statements in it may take as long as they need,
   * since bulk work is done here; when `signal` is aborted, the one that runs is cancelled and no other is begun.
   *
   * @throws MatcherError `TRANSACTION_ABORTED` when `work` returned over a failed statement or an unread COPY.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** As `transaction`, to read only: all its statements see the same state of the database, that of the first. */
  snapshot<T>(work: (tx: Transaction) => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export interface Transaction {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /** As `query`, with the number of rows that the statement touched. */
  execute(sql: string, values?: unknown[]): Promise<number>;
  /** `COPY … FROM STDIN`; returns the number of rows. */
  copyIn(sql: string, source: AsyncIterable<string | Buffer> | Iterable<string | Buffer>): Promise<number>;
  /** `COPY … TO STDOUT` as a stream of bytes, to be read to its end; `rows()` is known then. */
  copyOut(sql: string): { stream: Readable; rows(): number };
}

/** A database that does not even react to a cancellation is not there any more: how long (ms) its connection may stay silent. */
const cancelGrace = 5000;

/** How much longer (ms) than the server's own limit a query is waited for, so that it is the server that ends it. */
const answerGrace = 1000;

/** A timer of Node's that is told to take longer fires at once. */
const longestTimer = 2 ** 31 - 1;

const begin = {
  transaction: 'BEGIN; SET LOCAL statement_timeout = 0',
  snapshot: 'BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = 0',
};

/**
 * @param statementTimeout the server's limit (ms) for a statement outside of transactions, 0 for none: soon after it a query is given up, whether or
 *   not the server says anything.
 * @param transactions permits for transactions: fewer than the pool has connections, so that however many bulk transactions run, the short statements
 *   that keep their claims alive and that cancel them get through.
 */
export function tenantDatabase(pool: Pool, transactions: Slots, statementTimeout: number): TenantDatabase {
  const limit = statementTimeout === 0 ? 0 : Math.min(statementTimeout + answerGrace, longestTimer);
  return {
    async query(sql, values) {
      const query = withTimeout(limit, sql, values);
      if (leavesSessionAlone(sql)) return (await pool.query(query)).rows;
      const client = await take(pool);
      let failed = true;
      try {
        const { rows } = await client.query(query);
        failed = false;
        return rows;
      } finally {
        void giveBack(client, failed);
      }
    },
    transaction(work, signal) {
      return inTransaction('transaction', pool, transactions, work, signal);
    },
    snapshot(work, signal) {
      return inTransaction('snapshot', pool, transactions, work, signal);
    },
  };
}

async function inTransaction<T>(
  kind: keyof typeof begin,
  pool: Pool,
  transactions: Slots,
  work: (tx: Transaction) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const leave = await transactions.acquire(signal);
  const client = await take(pool).catch((error) => {
    leave();
    throw error;
  });
  let broken = false;
  /** COPYs that have not come to their end: while there are any, the connection can do nothing else. */
  const copies = new Set<Readable>();
  let cancelled: Promise<unknown> | undefined;
  let silence: NodeJS.Timeout | undefined;
  const cancel = () => {
    const { processID, connection } = client as PoolClient & Internals;
    cancelled = pool.query(withTimeout(cancelGrace, 'SELECT pg_cancel_backend($1)', [processID])).catch(ignore);
    silence = setTimeout(() => connection.stream.destroy(), cancelGrace);
  };
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    await client.query(begin[kind]);
    const result = await work(transaction(client, copies, signal));
    if (copies.size > 0) throw aborted('a COPY was not read to its end');
    const commit = client.query('COMMIT');
    if (kind === 'snapshot') {
      // All has been read: a connection that breaks here takes nothing back.
      broken = await commit.then(
        () => false,
        () => true,
      );
      return result;
    }
    // PostgreSQL answers a COMMIT of what it has given up with a rollback, and without an error.
    const { command } = await commit;
    if (command !== 'COMMIT') throw aborted('a statement in it had failed');
    return result;
  } catch (error) {
    broken =
      copies.size > 0 ||
      (await client.query('ROLLBACK').then(
        () => false,
        () => true,
      ));
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    // A cancellation that arrives late must not hit whoever gets the connection next.
    await cancelled;
    clearTimeout(silence);
    void giveBack(client, broken).finally(leave);
  }
}

async function take(pool: Pool): Promise<PoolClient> {
  const client = await pool.connect();
  client.on('error', ignore);
  return client;
}

/** Whoever has used the connection has its answer already and does not wait for this. Never throws. */
async function giveBack(client: PoolClient, broken: boolean): Promise<void> {
  const clean = !broken && (await resetSession(client));
  client.off('error', ignore);
  client.release(!clean);
}

/** A connection that breaks while it is used also raises an event; the query's own error is the one that is reported. */
function ignore(): void {}

/** What the driver has and its types don't tell. */
interface Internals {
  processID: number;
  connection: { stream: { destroy(): void } };
}

function withTimeout(milliseconds: number, text: string, values: unknown[] = []) {
  return { text, values, query_timeout: milliseconds };
}

function aborted(reason: string): MatcherError {
  return new MatcherError('TRANSACTION_ABORTED', `The transaction was not committed: ${reason}`);
}

function transaction(client: PoolClient, copies: Set<Readable>, signal: AbortSignal | undefined): Transaction {
  const options = signal ? { signal } : {};
  return {
    async query(sql, values) {
      signal?.throwIfAborted();
      return (await client.query(sql, values)).rows;
    },
    async execute(sql, values) {
      signal?.throwIfAborted();
      return (await client.query(sql, values)).rowCount ?? 0;
    },
    async copyIn(sql, source) {
      signal?.throwIfAborted();
      let failure: unknown;
      const watched = async function* () {
        try {
          yield* source;
        } catch (error) {
          failure = error;
          throw error;
        }
      };
      const stream = client.query(copyFrom(sql));
      try {
        // A pipeline waits for its source to end, also when it failed; and a source may wait for what never comes.
        await Promise.race([pipeline(watched, stream, options), finished(stream, options)]);
      } catch (error) {
        // PostgreSQL says only that the COPY was broken off.
        throw failure ?? error;
      }
      return stream.rowCount ?? 0;
    },
    copyOut(sql) {
      signal?.throwIfAborted();
      const stream = client.query(endWhenReady(copyTo(sql)));
      copies.add(stream);
      stream.once('end', () => copies.delete(stream));
      stream.on('error', () => {
        // Destroyed by its reader, it leaves the connection in the middle of the data; refused by PostgreSQL, it doesn't.
        if (!stream.destroyed) copies.delete(stream);
      });
      return { stream, rows: () => stream.rowCount };
    },
  };
}

/** The number of rows follows the data in a message of its own: the stream's end waits for it. */
function endWhenReady(stream: CopyToStreamQuery): CopyToStreamQuery {
  const query = stream as CopyToStreamQuery & { handleReadyForQuery(): void };
  const push = stream.push.bind(stream);
  let ended = false;
  let ready = false;
  stream.push = (chunk, encoding) => {
    if (chunk !== null) return push(chunk, encoding);
    ended = true;
    return ready && push(null);
  };
  query.handleReadyForQuery = () => {
    ready = true;
    if (ended) push(null);
  };
  return stream;
}
