import { readdirSync, readFileSync } from 'node:fs';
import type { ClientBase } from 'pg';
import { errorCode, MatcherError } from '../errors.ts';

const directory = new URL('./migrations/', import.meta.url);

/** The schema's versions, oldest first: `NNNN_name.sql`. */
const migrations = readdirSync(directory)
  .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
  .sort()
  .map((file) => ({ version: Number(file.slice(0, 4)), file, sql: readFileSync(new URL(file, directory), 'utf8') }));

const newest = migrations.at(-1)?.version ?? 0;

/** SQLSTATE of a table that isn't there: nobody has been in this database yet. */
const undefinedTable = '42P01';

/**
 * Brings a tenant's database to this process's schema: all of it or nothing, and once, whoever opens the database first.
 *
 * @throws MatcherError `SCHEMA_TOO_NEW` when a newer release was here already.
 */
export async function migrate(client: ClientBase): Promise<void> {
  const found = await currentVersion(client).catch((error) => {
    if (errorCode(error) === undefinedTable) return 0;
    throw error;
  });
  refuseNewer(found);
  if (found === newest) return;
  await client.query('BEGIN');
  try {
    // Another's migration is waited for as long as a query may take; the own one takes what it needs.
    await client.query(`SELECT pg_advisory_xact_lock(hashtextextended('migration of ' || current_schema(), 0))`);
    await client.query('SET LOCAL statement_timeout = 0');
    await client.query(
      'CREATE TABLE IF NOT EXISTS schema_versions (version integer PRIMARY KEY, file text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
    );
    const current = await currentVersion(client);
    refuseNewer(current);
    for (const { version, file, sql } of migrations) {
      if (version <= current) continue;
      await client.query(sql);
      await client.query('INSERT INTO schema_versions (version, file) VALUES ($1, $2)', [version, file]);
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}

async function currentVersion(client: ClientBase): Promise<number> {
  const { rows } = await client.query('SELECT coalesce(max(version), 0) AS version FROM schema_versions');
  return rows[0].version;
}

function refuseNewer(version: number): void {
  if (version <= newest) return;
  throw new MatcherError('SCHEMA_TOO_NEW', `The database has schema ${version}, this process knows up to ${newest}`, {
    hint: 'A newer release has been here: update this process.',
    remedy: 'not-now',
  });
}
