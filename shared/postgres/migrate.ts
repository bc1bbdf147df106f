import { readdirSync, readFileSync } from 'node:fs';
import type { ClientBase } from 'pg';
import { errorCode, MatcherError } from '../errors.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { bulkLockTimeout } from './connection-options.ts';

const directory = new URL('./migrations/', import.meta.url);

/** The schema's versions, oldest first: `NNNN_name.sql`. */
const migrations = readdirSync(directory)
  .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
  .sort()
  .map((file) => ({ version: Number(file.slice(0, 4)), file, sql: readFileSync(new URL(file, directory), 'utf8') }));

const newest = migrations.at(-1)?.version ?? 0;

/** SQLSTATE of a table that isn't there: nobody has been in this database yet. */
const undefinedTable = '42P01';

/** SQLSTATEs of a table that another session has created in the meantime: by its name, or in the catalog's indexes. */
const createdMeanwhile = /^(42P07|42710|23505)$/;

/** SQLSTATEs of a wait for somebody else's lock that took too long. */
const waitedInVain = /^(55P03|57014)$/;

/** What is not answered after this time (ms) never will be: the server itself ends what waits for a lock. */
const silenceMs = bulkLockTimeout + 5000;

/**
 * Brings a tenant's database to this process's schema: all of it or nothing, and once, whoever opens the database first. Writes into it whose it is,
 * and refuses one that is somebody else's. One round trip when there is nothing to do.
 *
 * @param tenantId whose the database is to be; absent: whoever opens it first for a tenant says so.
 * @throws MatcherError `SCHEMA_TOO_NEW` when a newer release was here already; `DATABASE_OF_ANOTHER_TENANT`; `DATABASE_UNAVAILABLE` when another one's
 *   migration takes long.
 */
export async function migrate(client: ClientBase, tenantId?: TenantId): Promise<void> {
  const found = await look(client);
  refuseNewer(found.version);
  refuseForeign(found.owner, tenantId);
  if (found.version < newest) await bringUp(client, tenantId);
  else if (tenantId && found.owner === null) refuseForeign(await claim(client, tenantId), tenantId);
}

/** The schema's version and whose the database is. */
async function look(client: ClientBase): Promise<{ version: number; owner: string | null }> {
  try {
    const { rows } = await client.query(
      limited(
        'SELECT coalesce(max(version), 0) AS version, (SELECT tenant_id FROM tenant) AS owner FROM schema_versions',
      ),
    );
    return rows[0];
  } catch (error) {
    // Nobody has been here, or nobody who asked whose it is.
    if (errorCode(error) === undefinedTable) return { version: 0, owner: null };
    throw error;
  }
}

async function bringUp(client: ClientBase, tenantId: TenantId | undefined): Promise<void> {
  while (!(await lock(client)));
  try {
    await client.query(`SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = ${bulkLockTimeout}`);
    const current = await currentVersion(client);
    refuseNewer(current);
    for (const { version, file, sql } of migrations) {
      if (version <= current) continue;
      await client.query(sql);
      await client.query('INSERT INTO schema_versions (version, file) VALUES ($1, $2)', [version, file]);
    }
    if (tenantId) refuseForeign(await claim(client, tenantId), tenantId);
    await client.query('COMMIT');
  } catch (error) {
    await client.query(limited('ROLLBACK')).catch(() => {});
    throw error;
  }
}

/**
 * Begins the transaction of a migration, with the lock that keeps others from theirs: on a table of the own schema, since an advisory lock is one for
 * all the tenants of a database. Whoever only reads the version does not wait for it. Another's migration is waited for as long as a query waits for a lock.
 *
 * @returns false when it was another who created the table: to be tried again.
 */
async function lock(client: ClientBase): Promise<boolean> {
  try {
    await client.query(limited('BEGIN'));
    await client.query(
      limited(
        'CREATE TABLE IF NOT EXISTS schema_versions (version integer PRIMARY KEY, file text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
      ),
    );
    await client.query(limited('LOCK TABLE schema_versions IN SHARE ROW EXCLUSIVE MODE'));
    return true;
  } catch (error) {
    await client.query(limited('ROLLBACK')).catch(() => {});
    const code = errorCode(error);
    if (createdMeanwhile.test(code)) return false;
    if (!waitedInVain.test(code)) throw error;
    throw new MatcherError('DATABASE_UNAVAILABLE', 'Somebody else is changing the schema of the tenant’s database', {
      hint: 'When it lasts, look into pg_locks for who holds the table schema_versions.',
      remedy: 'not-now',
      cause: error,
    });
  }
}

/** Makes the database the tenant's unless it has an owner, and says whose it is. */
async function claim(client: ClientBase, tenantId: TenantId): Promise<string> {
  await client.query('INSERT INTO tenant (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING', [tenantId]);
  const { rows } = await client.query('SELECT tenant_id FROM tenant');
  return rows[0].tenant_id;
}

async function currentVersion(client: ClientBase): Promise<number> {
  const { rows } = await client.query('SELECT coalesce(max(version), 0) AS version FROM schema_versions');
  return rows[0].version;
}

/** @param text of a statement that is soon done, by a server that is there. */
function limited(text: string) {
  return { text, query_timeout: silenceMs };
}

function refuseForeign(owner: string | null, tenantId: TenantId | undefined): void {
  if (owner === null || tenantId === undefined || owner === tenantId) return;
  throw new MatcherError('DATABASE_OF_ANOTHER_TENANT', `The database is that of the tenant ${owner}`, {
    hint: `Correct where the database of the tenant ${tenantId} is. Nothing of the other tenant’s was read or changed; jobs wait until then.`,
    remedy: 'not-now',
  });
}

function refuseNewer(version: number): void {
  if (version <= newest) return;
  throw new MatcherError('SCHEMA_TOO_NEW', `The database has schema ${version}, this process knows up to ${newest}`, {
    hint: 'A newer release has been here: update this process.',
    remedy: 'not-now',
  });
}
