import type { Socket } from 'node:net';
import { Pool, type PoolClient } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { Slots } from '../slots.ts';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { connectionOptions } from './connection-options.ts';
import { migrate } from './migrate.ts';

/** How long (ms) a server may take to end the connections of a pool that is closed. */
const goodbye = 3000;

export interface OpenedPool {
  readonly pool: Pool;
  readonly transactions: Slots;
  readonly config: TenantConfig;
  /** Ends when no connection is left. Never throws. */
  close(): Promise<void>;
}

/**
 * Opens the pool of a tenant's database, with the schema that this process knows.
 *
 * @throws MatcherError `DATABASE_UNAVAILABLE`, `SCHEMA_TOO_NEW`, and what the source throws.
 */
export async function openPool(
  tenantId: TenantId,
  source: TenantSource,
  settings: Settings,
  log: Logger,
): Promise<OpenedPool> {
  const config = await source.config(tenantId);
  const { maxOpenConns, maxIdleConns } = config.limits;
  // A job works on one connection and keeps its claim alive on another.
  const max = Math.max(2, maxOpenConns);
  const pool = new Pool({
    ...connectionOptions(config.postgres, settings, 'matcher'),
    max,
    // Connections that stay although nobody uses them; the others close after their idle time.
    min: Math.min(maxIdleConns, max),
    idleTimeoutMillis: 10_000,
  });
  // A connection that breaks while nobody uses it is replaced by the next use.
  pool.on('error', (error) => log.warn({ tenantId, reason: errorMessage(error) }, 'an idle connection broke'));
  const clients = new Set<PoolClient>();
  pool.on('connect', (client) => {
    clients.add(client);
    // The pool listens to idle ones only; whoever uses one learns of its end by the failure of the query.
    client.on('error', () => {});
  });
  pool.on('remove', (client) => clients.delete(client));
  const close = async () => {
    // The pool's own promise does not wait for the connections' ends.
    const { promise: empty, resolve } = Promise.withResolvers<void>();
    pool.on('remove', () => {
      if (clients.size === 0) resolve();
    });
    const timer = setTimeout(() => {
      for (const client of clients) socketOf(client).destroy();
    }, goodbye);
    await pool.end().catch(() => {});
    if (clients.size > 0) await empty;
    clearTimeout(timer);
  };
  try {
    const client = await pool.connect();
    try {
      await migrate(client);
    } finally {
      client.release();
    }
  } catch (error) {
    await close();
    if (error instanceof MatcherError) throw error;
    // Refused credentials may be rotated ones: the next attempt asks for them anew.
    if (/^28/.test(errorCode(error))) source.forget(tenantId);
    throw new MatcherError('DATABASE_UNAVAILABLE', `The tenant's database cannot be used (${errorCode(error)})`, {
      remedy: 'not-now',
      cause: error,
    });
  }
  return { pool, transactions: new Slots(max - 1), config, close };
}

function socketOf(client: PoolClient): Socket {
  return (client as PoolClient & { connection: { stream: Socket } }).connection.stream;
}
