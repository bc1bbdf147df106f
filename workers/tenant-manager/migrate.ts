import { readdirSync, readFileSync } from 'node:fs';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { ClientBase } from 'pg';
import { lockTimeoutMs } from './lock.ts';

const directory = new URL('./migrations/', import.meta.url);

/** The schema's versions, oldest first: `NNNN_name.sql`. */
const migrations = readdirSync(directory)
  .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
  .sort();

/** Any constant will do, as long as no other program in this database takes the same. */
const lock = 0x746d6772;

/**
 * Brings the schema `tenant_manager` to this release: all of it or nothing, one process at a time.
 *
 * @throws MatcherError `SCHEMA_TOO_NEW` when a newer release was here already.
 */
export async function migrate(client: ClientBase): Promise<void> {
  await client.query('BEGIN');
  try {
    // Whoever starts is patient, but not without end.
    await client.query(`SET LOCAL lock_timeout = ${lockTimeoutMs}`);
    await client.query('SELECT pg_advisory_xact_lock($1)', [lock]);
    await client.query('SET LOCAL lock_timeout = 0');
    await client.query(`
      SET LOCAL client_min_messages = warning;
      CREATE SCHEMA IF NOT EXISTS tenant_manager;
      CREATE TABLE IF NOT EXISTS tenant_manager.schema_versions (
        file text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
      )`);
    const { rows } = await client.query<{ file: string }>('SELECT file FROM tenant_manager.schema_versions');
    const applied = new Set(rows.map((row) => row.file));
    const unknown = [...applied].filter((file) => !migrations.includes(file));
    if (unknown.length > 0) {
      throw new MatcherError('SCHEMA_TOO_NEW', `The schema tenant_manager has ${unknown.join(', ')}, unknown here`, {
        hint: 'A newer release has been here: update this process.',
      });
    }
    for (const file of migrations.filter((name) => !applied.has(name))) {
      await client.query(readFileSync(new URL(file, directory), 'utf8'));
      await client.query('INSERT INTO tenant_manager.schema_versions (file) VALUES ($1)', [file]);
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}
