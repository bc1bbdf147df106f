import { type ClientBase, escapeIdentifier, escapeLiteral } from 'pg';
import { scramVerifier } from './passwords.ts';

/**
 * Creates a role and a database that only this role (and administrators) can connect to, both of that name. Repeating it completes
 * what was begun and sets the password again.
 *
 * @param client of an administrator, outside a transaction: PostgreSQL creates no database inside one.
 */
export async function provisionDatabase(client: ClientBase, name: string, password: string): Promise<void> {
  const identifier = escapeIdentifier(name);
  await provisionRole(client, name, password);
  await createClosedDatabase(client, name, name);
  await client.query(`ALTER DATABASE ${identifier} ALLOW_CONNECTIONS true`);
}

/** Ends every session in the tenant's database and drops it, with its role. Repeating it completes what was begun. */
export async function dropDatabase(client: ClientBase, name: string): Promise<void> {
  await client.query(`DROP DATABASE IF EXISTS ${escapeIdentifier(name)} WITH (FORCE)`);
  await client.query(`DROP ROLE IF EXISTS ${escapeIdentifier(name)}`);
}

/** Creates a role that can log in and nothing else, or sets the password of the one that is there. */
export async function provisionRole(client: ClientBase, name: string, password: string): Promise<void> {
  const identifier = escapeIdentifier(name);
  if (await exists(client, 'SELECT FROM pg_roles WHERE rolname = $1', name)) {
    await setPassword(client, name, password);
  } else {
    const verifier = escapeLiteral(scramVerifier(password));
    await client.query(
      `CREATE ROLE ${identifier} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD ${verifier}`,
    );
  }
  // Only a superuser may give a database to a role that it isn't a member of.
  if (await exists(client, 'SELECT FROM pg_roles WHERE rolname = current_user AND NOT rolsuper')) {
    await client.query(`GRANT ${identifier} TO CURRENT_USER`);
  }
}

/** Sessions that are open go on; the former password opens no other. Part of the client's transaction, if it is in one. */
export async function setPassword(client: ClientBase, role: string, password: string): Promise<void> {
  const verifier = escapeLiteral(scramVerifier(password));
  await client.query(`ALTER ROLE ${escapeIdentifier(role)} LOGIN PASSWORD ${verifier}`);
}

/**
 * Creates a database that PUBLIC is locked out of, unless it is there. A new one allows no connections at all yet: who connects before
 * PUBLIC is locked out would stay connected.
 *
 * @param owner its owner; without one, whoever creates it.
 */
export async function createClosedDatabase(client: ClientBase, name: string, owner?: string): Promise<void> {
  const identifier = escapeIdentifier(name);
  if (!(await exists(client, 'SELECT FROM pg_database WHERE datname = $1', name))) {
    const owned = owner === undefined ? '' : `OWNER ${escapeIdentifier(owner)}`;
    await client.query(
      `CREATE DATABASE ${identifier} ${owned} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false`,
    );
  }
  await client.query(`REVOKE ALL ON DATABASE ${identifier} FROM PUBLIC`);
}

/**
 * Keeps tenants out of the databases that every PostgreSQL server has, and out of the Tenant Manager's own: PUBLIC may connect to
 * any database unless it is told otherwise.
 *
 * @returns the names of the other databases that any role can connect to; they belong to somebody else and are left alone.
 */
export async function closeCommonDatabases(client: ClientBase, ownDatabase: string): Promise<string[]> {
  const ours = new Set(['postgres', 'template1', ownDatabase]);
  for (const name of await openToPublic(client)) {
    if (ours.has(name)) await client.query(`REVOKE CONNECT ON DATABASE ${escapeIdentifier(name)} FROM PUBLIC`);
  }
  return openToPublic(client);
}

async function openToPublic(client: ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(`
    SELECT datname AS name
    FROM pg_database
    WHERE datallowconn
      AND EXISTS (
        SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))
        WHERE grantee = 0 AND privilege_type = 'CONNECT'
      )
    ORDER BY datname`);
  return rows.map((row) => row.name);
}

async function exists(client: ClientBase, query: string, ...values: string[]): Promise<boolean> {
  return ((await client.query(query, values)).rowCount ?? 0) > 0;
}
