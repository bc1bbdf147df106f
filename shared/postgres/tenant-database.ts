import type { Pool, PoolClient, QueryResult, QueryResultRow } from 'pg';
import type { Slots } from '../slots.ts';
import type { bulkLockTimeout } from './connection-options.ts';
import { Patience } from './patience.ts';
import { prepared } from './prepared.ts';
import { leavesSessionAlone, resetSession } from './session-state.ts';
import { runTransaction, type Transaction, unused } from './transaction.ts';

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

/** A database that does not even react to a cancellation is not there any more: how long (ms) its connection may stay silent. */
export const cancelGrace = 5000;

/** How much longer (ms) than the server's own limit a query is waited for, so that it is the server that ends it. */
const answerGrace = 1000;

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
  kind: 'transaction' | 'snapshot',
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
  const use = unused();
  let cancelled: Promise<void> | undefined;
  let silence: NodeJS.Timeout | undefined;
  const cancel = () => {
    const { processID, connection } = client as PoolClient & Internals;
    cancelled = cancelStatement(pool, processID);
    silence = setTimeout(() => connection.stream.destroy(), cancelGrace);
  };
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await runTransaction(kind, client, use, work, signal);
  } finally {
    signal?.removeEventListener('abort', cancel);
    // A cancellation that arrives late must not hit whoever gets the connection next.
    await cancelled;
    clearTimeout(silence);
    void giveBack(client, use.broken, use.untouched).finally(leave);
  }
}

/** Cancels what the pool's server does for one of its connections, if it does anything. Never throws. */
export async function cancelStatement(pool: Pool, processId: number): Promise<void> {
  const query = { text: 'SELECT pg_cancel_backend($1)', values: [processId], query_timeout: cancelGrace };
  await pool.query(query).catch(ignore);
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
