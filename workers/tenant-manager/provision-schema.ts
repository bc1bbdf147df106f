import type { Settings } from '@matcher/shared/config/variables.ts';
import { MatcherError } from '@matcher/shared/errors.ts';
import { Client, type ClientBase, escapeIdentifier } from 'pg';
import { administratorOptions } from './administrator.ts';
import { locked } from './lock.ts';
import { createClosedDatabase, provisionRole } from './provision-database.ts';

/** The database that a deployment's tenants in `schema` isolation share: never the Tenant Manager's own, which holds their passwords. */
export function sharedDatabaseOf(settings: Settings): string {
  // PostgreSQL cuts names off at 63 bytes.
  return `${(settings.POSTGRES_DB ?? '').slice(0, 56)}_shared`;
}

/**
 * Creates a role and a schema of that name in the shared database; the role sees, and can create in, this schema and no other. The schema
 * stays the administrator's, so that its tenant can't share it. Repeating it completes what was begun and sets the password again.
 *
 * @param client of an administrator, outside a transaction.
 */
export async function provisionSchema(
  client: ClientBase,
  settings: Settings,
  database: string,
  name: string,
  password: string,
): Promise<void> {
  const [schema, shared] = [escapeIdentifier(name), escapeIdentifier(database)];
  await provisionRole(client, name, password);
  // All tenants' requests change the same database, which PostgreSQL refuses to do twice at once.
  await locked(client, `database ${database}`, async () => {
    await createClosedDatabase(client, database);
    await client.query(`ALTER DATABASE ${shared} ALLOW_CONNECTIONS true`);
    await client.query(`GRANT CONNECT, TEMPORARY ON DATABASE ${shared} TO ${schema}`);
    await inDatabase(settings, database, (inside) => closePublicSchema(inside));
  });
  await client.query(`ALTER ROLE ${schema} IN DATABASE ${shared} SET search_path TO ${schema}`);
  await inDatabase(settings, database, async (inside) => {
    await inside.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
    await inside.query(`GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${schema}`);
  });
}

/** Ends the role's sessions and drops it, with its schema. Repeating it completes what was begun. */
export async function dropSchema(
  client: ClientBase,
  settings: Settings,
  database: string,
  name: string,
): Promise<void> {
  const schema = escapeIdentifier(name);
  const role = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [name]);
  if (role.rowCount === 0) return;
  await client.query(`ALTER ROLE ${schema} NOLOGIN`);
  await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [name]);
  const there = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
  if (there.rowCount !== 0) {
    await inDatabase(settings, database, async (inside) => {
      await inside.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    });
    await locked(client, `database ${database}`, async () => {
      await client.query(`REVOKE ALL ON DATABASE ${escapeIdentifier(database)} FROM ${schema}`);
    });
  }
  await client.query(`DROP ROLE ${schema}`);
}

/** Before PostgreSQL 15 every role could create tables in the schema `public`. */
async function closePublicSchema(inside: ClientBase): Promise<void> {
  const open = `SELECT FROM pg_namespace n, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    WHERE nspname = 'public' AND grantee = 0`;
  if ((await inside.query(open)).rowCount === 0) return;
  await inside.query('REVOKE ALL ON SCHEMA public FROM PUBLIC');
  // To whoever does not own the schema, PostgreSQL answers with a warning only.
  if ((await inside.query(open)).rowCount === 0) return;
  throw new MatcherError('SCHEMA_PUBLIC_OPEN', 'Every role can use the schema public of the shared database', {
    hint: 'Run REVOKE ALL ON SCHEMA public FROM PUBLIC there as a superuser.',
  });
}

async function inDatabase(
  settings: Settings,
  database: string,
  work: (inside: ClientBase) => Promise<void>,
): Promise<void> {
  const client = new Client(administratorOptions(settings, database));
  // A connection that breaks between two statements is reported by the next one.
  client.on('error', () => {});
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
