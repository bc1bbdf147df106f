import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { Pool, PoolClient, QueryResult, QueryResultRow } from 'pg';
import { type CopyToStreamQuery, from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { MatcherError } from '../errors.ts';
import type { Slots } from '../slots.ts';
import { bulkLockTimeout } from './connection-options.ts';
import { Patience } from './patience.ts';
import { prepared } from './prepared.ts';
import { leavesSessionAlone, resetSession } from './session-state.ts';

/** The tenant's database, as a job's handler sees it. What a statement leaves in its session is gone before the next use of the connection. */
export interface TenantDatabase {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /**
   * Runs `work` in one transaction: committed when it returns, rolled back when it throws. Statements in it may take as long as they need,
   * since bulk work is done here, but wait for nobody's lock for longer than {@link bulkLockTimeout}; when `signal` is aborted, the one that runs is
   * cancelled and no other is begun. It costs two round trips more than its statements, and one more when one of these may have left something in its
   * session.
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

const bulk = `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = ${bulkLockTimeout}; SET LOCAL plan_cache_mode = auto`;
const begin = {
  transaction: `BEGIN; ${bulk}`,
  snapshot: `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; ${bulk}`,
};

/**
 * Made once for a pool: one timer watches all that is asked through it.
 *
 * @param statementTimeout the server's limit (ms) for a statement outside of transactions, 0 for none: soon after it a query is given up, whether or
 *   not the server says anything.
 * @param transactions permits for transactions: fewer than the pool has connections, so that however many bulk transactions run, the short statements
 *   that keep their claims alive and that cancel them get through.
 */
export function tenantDatabase(pool: Pool, transactions: Slots, statementTimeout: number): TenantDatabase {
  const patience = new Patience(statementTimeout === 0 ? 0 : statementTimeout + answerGrace);
  return Object.freeze<TenantDatabase>({
    query: (sql, values) => query(pool, patience, sql, values),
    transaction: (work, signal) => inTransaction('transaction', pool, transactions, work, signal),
    snapshot: (work, signal) => inTransaction('snapshot', pool, transactions, work, signal),
  });
}

/** With callbacks down to the driver, since most of what a small query costs on this side are promises. */
async function query<R extends QueryResultRow>(
  pool: Pool,
  patience: Patience,
  sql: string,
  values: unknown[] | undefined,
): Promise<R[]> {
  const untouched = leavesSessionAlone(sql);
  try {
    return await new Promise<R[]>((resolve, reject) => {
      pool.connect((error, client) => {
        if (!client) {
          reject(error);
          return;
        }
        hear(client);
        const answered = (error: Error | null, result?: QueryResult<R>) => {
          if (!error && untouched && isOutside(client)) client.release();
          else void giveBack(client, Boolean(error), untouched);
          if (result) resolve(result.rows);
          else reject(error);
        };
        const wait = patience.begin(() => answered(new Error('Query read timeout')));
        const inTime = (error: Error | null, result?: QueryResult<R>) => {
          if (patience.end(wait)) answered(error, result);
        };
        try {
          if (values) client.query<R>(prepared(sql, values), inTime);
          else client.query<R>(sql, inTime);
        } catch (error) {
          inTime(error as Error);
        }
      });
    });
  } catch (error) {
    // From where it was asked, and not from the socket.
    if (error instanceof Error) Error.captureStackTrace(error);
    throw error;
  }
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
  const use: Use = { copies: new Set(), untouched: true };
  const { copies } = use;
  let cancelled: Promise<unknown> | undefined;
  let silence: NodeJS.Timeout | undefined;
  const cancel = () => {
    const { processID, connection } = client as PoolClient & Internals;
    const query = { text: 'SELECT pg_cancel_backend($1)', values: [processID], query_timeout: cancelGrace };
    cancelled = pool.query(query).catch(ignore);
    silence = setTimeout(() => connection.stream.destroy(), cancelGrace);
  };
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    await client.query(begin[kind]);
    const result = await work(transaction(client, use, signal));
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
    void giveBack(client, broken, use.untouched).finally(leave);
  }
}

async function take(pool: Pool): Promise<PoolClient> {
  const client = await pool.connect();
  hear(client);
  return client;
}

/** A connection that breaks while it is used also raises an event, which would end the process; the query's own error is the one that is reported. */
function hear(client: PoolClient): void {
  if (client.listenerCount('error') === 0) client.on('error', ignore);
}

function isOutside(client: PoolClient): boolean {
  return client.getTransactionStatus() === 'I';
}

/**
 * Whoever has used the connection has its answer already and does not wait for this. Never throws.
 *
 * @param untouched nothing that was done on the connection can have left anything in its session.
 */
async function giveBack(client: PoolClient, broken: boolean, untouched: boolean): Promise<void> {
  const clean = !broken && ((untouched && isOutside(client)) || (await resetSession(client)));
  client.release(!clean);
}

function ignore(): void {}

/** What the driver has and its types don't tell. */
interface Internals {
  processID: number;
  connection: { stream: { destroy(): void } };
}

function aborted(reason: string): MatcherError {
  return new MatcherError('TRANSACTION_ABORTED', `The transaction was not committed: ${reason}`);
}

/** What a transaction's work has done on its connection. */
interface Use {
  /** COPYs that have not come to their end: while there are any, the connection can do nothing else. */
  readonly copies: Set<Readable>;
  /** All its statements leave their session as they found it. */
  untouched: boolean;
}

function transaction(client: PoolClient, use: Use, signal: AbortSignal | undefined): Transaction {
  const { copies } = use;
  const options = signal ? { signal } : {};
  const begin = (sql: string) => {
    signal?.throwIfAborted();
    use.untouched &&= leavesSessionAlone(sql);
  };
  return {
    async query(sql, values) {
      begin(sql);
      return (await client.query(values ? prepared(sql, values) : sql)).rows;
    },
    async execute(sql, values) {
      begin(sql);
      return (await client.query(sql, values)).rowCount ?? 0;
    },
    async copyIn(sql, source) {
      begin(sql);
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
      begin(sql);
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
