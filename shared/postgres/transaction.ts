import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { ClientBase, QueryResultRow } from 'pg';
import { type CopyToStreamQuery, from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { MatcherError } from '../errors.ts';
import { bulkLockTimeout } from './connection-options.ts';
import { prepared } from './prepared.ts';
import { leavesSessionAlone } from './session-state.ts';

export interface Transaction {
  query<R extends QueryResultRow>(sql: string, values?: unknown[]): Promise<R[]>;
  /** As `query`, with the number of rows that the statement touched. */
  execute(sql: string, values?: unknown[]): Promise<number>;
  /** `COPY … FROM STDIN`; returns the number of rows. */
  copyIn(sql: string, source: AsyncIterable<string | Buffer> | Iterable<string | Buffer>): Promise<number>;
  /** `COPY … TO STDOUT` as a stream of bytes, to be read to its end; `rows()` is known then. */
  copyOut(sql: string): { stream: Readable; rows(): number };
}

const bulk = `SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = ${bulkLockTimeout}; SET LOCAL plan_cache_mode = auto`;
const begin = {
  transaction: `BEGIN; ${bulk}`,
  snapshot: `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; ${bulk}`,
};

/** What a transaction's work has done on its connection. */
export interface Use {
  /** COPYs that have not come to their end: while there are any, the connection can do nothing else. */
  readonly copies: Set<Readable>;
  /** All its statements leave their session as they found it. */
  untouched: boolean;
  /** The connection can't be used any more. */
  broken: boolean;
}

export const unused = (): Use => ({ copies: new Set(), untouched: true, broken: false });

/**
 * Runs `work` in a transaction on this connection, as {@link TenantDatabase.transaction} says.
 *
 * @param signal aborted: no further statement is begun. Whoever aborts it cancels the one that runs.
 */
export async function runTransaction<T>(
  kind: keyof typeof begin,
  client: ClientBase,
  use: Use,
  work: (tx: Transaction) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  try {
    signal?.throwIfAborted();
    await client.query(begin[kind]);
    const result = await work(transaction(client, use, signal));
    if (use.copies.size > 0) throw aborted('a COPY was not read to its end');
    const commit = client.query('COMMIT');
    if (kind === 'snapshot') {
      // All has been read: a connection that breaks here takes nothing back.
      use.broken = await fails(commit);
      return result;
    }
    // PostgreSQL answers a COMMIT of what it has given up with a rollback, and without an error.
    const { command } = await commit;
    if (command !== 'COMMIT') throw aborted('a statement in it had failed');
    return result;
  } catch (error) {
    use.broken = use.copies.size > 0 || (await fails(client.query('ROLLBACK')));
    throw error;
  }
}

async function fails(query: Promise<unknown>): Promise<boolean> {
  return await query.then(
    () => false,
    () => true,
  );
}

function aborted(reason: string): MatcherError {
  return new MatcherError('TRANSACTION_ABORTED', `The transaction was not committed: ${reason}`);
}

function transaction(client: ClientBase, use: Use, signal: AbortSignal | undefined): Transaction {
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
