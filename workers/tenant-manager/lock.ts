import { errorCode } from '@matcher/shared/errors.ts';
import type { ClientBase, Pool, PoolClient } from 'pg';
import { busy } from './refusals.ts';

/** How long (ms) a request waits for another one: each waits on a connection of its own, of which there are not many. */
export const lockTimeoutMs = 15_000;

/** PostgreSQL's `lock_not_available`. */
const lockNotAvailable = '55P03';

/**
 * Runs `work` while no other process works on the same subject. The lock belongs to the session, since a database can't be created inside a
 * transaction; everything runs on the session's own client, so that waiting requests can't take the connections that the working one needs.
 *
 * @throws Refusal 503 `BUSY` when the subject does not become free in time, and what `work` throws.
 */
export async function withLock<T>(pool: Pool, subject: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    const result = await locked(client, subject, () => work(client));
    client.release();
    return result;
  } catch (error) {
    // A session that was interrupted anywhere ends, and with it its locks and its transaction.
    client.release(true);
    throw error;
  }
}

/**
 * As {@link withLock}, on a session that is at work already. When `work` fails, the session has to end for the lock to be free again.
 *
 * @throws Refusal 503 `BUSY`, and what `work` throws.
 */
export async function locked<T>(client: ClientBase, subject: string, work: () => Promise<T>): Promise<T> {
  const key = `tenant-manager/${subject}`;
  await client.query(`SET lock_timeout = ${lockTimeoutMs}`);
  try {
    await client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', [key]);
  } catch (error) {
    throw errorCode(error) === lockNotAvailable ? busy() : error;
  }
  await client.query('RESET lock_timeout');
  const result = await work();
  await client.query('SELECT pg_advisory_unlock(hashtextextended($1, 0))', [key]);
  return result;
}
