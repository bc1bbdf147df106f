import type { ClientBase, Pool, PoolClient } from 'pg';

/**
 * Runs `work` while no other process works on the same subject. The lock belongs to the session, since a database can't be created inside a
 * transaction; everything runs on the session's own client, so that waiting requests can't take the connections that the working one needs.
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

/** As {@link withLock}, on a session that is at work already. When `work` fails, the session has to end for the lock to be free again. */
export async function locked<T>(client: ClientBase, subject: string, work: () => Promise<T>): Promise<T> {
  const key = `tenant-manager/${subject}`;
  await client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', [key]);
  const result = await work();
  await client.query('SELECT pg_advisory_unlock(hashtextextended($1, 0))', [key]);
  return result;
}
