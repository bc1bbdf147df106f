import { Pool, type PoolClient } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { Slots } from '../slots.ts';
import type { PostgresTarget, TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { connectionOptions, statementTimeoutOf } from './connection-options.ts';
import type { CountedClient } from './counted-client.ts';
import { migrate } from './migrate.ts';
import { isSameDatabase } from './pool-place.ts';
import { openReplicaPool, Replica } from './replica.ts';
import { seats, type TakeSeat } from './seat.ts';
import { ServerBudget } from './server-budget.ts';
import { type TenantDatabase, tenantDatabase } from './tenant-database.ts';

export interface OpenedPool {
  readonly pool: Pool;
  /** Connections that it may have at most. */
  readonly max: number;
  /** Permits for transactions on the pool, one fewer than the connections that it can count on. */
  readonly transactions: Slots;
  readonly db: TenantDatabase;
  /** As `db.snapshot`, on the tenant's replica when it has one, to which it connects when it is used for the first time. */
  readonly snapshot: TenantDatabase['snapshot'];
  readonly seat: TakeSeat;
  readonly config: TenantConfig;
  /** Ends when no connection is left. Never throws. */
  close(): Promise<void>;
}

/**
 * Opens the pool of a tenant's database, with the schema that this process knows.
 *
 * @param config what it is opened with; absent: what the tenant's source says.
 * @param refused called, once it stands, whenever PostgreSQL refuses a new connection of it, with the SQLSTATE.
 * @param signal ends the opening, which then throws its reason as soon as the source has answered or the connection was made.
 * @throws MatcherError `DATABASE_UNAVAILABLE`, `DATABASE_OF_ANOTHER_TENANT`, `SCHEMA_TOO_NEW`, and what the source throws.
 */
export type OpenTenantPool = (
  tenantId: TenantId,
  config: TenantConfig | undefined,
  refused: (code: string) => void,
  signal?: AbortSignal,
) => Promise<OpenedPool>;

/** Opens the pools of one process, whose connections to each server are counted together. */
export function poolOpener(source: TenantSource, settings: Settings, log: Logger): OpenTenantPool {
  const { MULTI_TENANT_MAX_TENANT_POOLS, POSTGRES_MAX_OPEN_CONNS } = settings;
  const budget = new ServerBudget(MULTI_TENANT_MAX_TENANT_POOLS * POSTGRES_MAX_OPEN_CONNS, POSTGRES_MAX_OPEN_CONNS);
  return async (tenantId, given, refused, signal) => {
    const open = (config: TenantConfig) => openPool(config, source, settings, budget, log, refused, signal);
    if (given) return await open(given);
    const known = await source.config(tenantId);
    try {
      return await open(known);
    } catch (error) {
      if (!isOutdated(error)) throw error;
      // The credentials were rotated or the database has moved: what is true now is worth one more attempt.
      const asked = await source.refresh(tenantId).catch((failure) => {
        throw errorCode(failure) === 'TENANT_MANAGER_UNAVAILABLE' ? error : failure;
      });
      if (isSameDatabase(known, asked)) throw error;
      return await open(asked);
    }
  };
}

async function openPool(
  config: TenantConfig,
  source: TenantSource,
  settings: Settings,
  budget: ServerBudget,
  log: Logger,
  refused: (code: string) => void,
  signal: AbortSignal | undefined,
): Promise<OpenedPool> {
  signal?.throwIfAborted();
  const { tenantId, postgres, limits } = config;
  // A job works on one connection and keeps its claim alive on another.
  const max = Math.max(2, limits.maxOpenConns);
  let stands = false;
  let isRefused = false;
  // A job that holds the pool while its password is rotated goes on needing connections: to renew its claim, and to end it.
  const password = async () => {
    const known = isRefused ? await source.config(tenantId).catch(() => config) : config;
    return (isSameRole(known.postgres, postgres) ? known : config).postgres.password;
  };
  const hearFailure = (error: unknown) => {
    if (!stands || !isRefusal(error)) return;
    isRefused = true;
    refused(errorCode(error));
  };
  const { pool, lend, close } = budget.pool(
    `${postgres.host.toLowerCase()}:${postgres.port}`,
    settings.POSTGRES_CONNECT_TIMEOUT_SEC * 1000,
    (client) =>
      new Pool({
        ...connectionOptions(postgres, settings, 'matcher', limits),
        password,
        Client: client,
        max,
        // Connections that stay although nobody uses them; the others close after their idle time.
        min: Math.min(limits.maxIdleConns, max),
        idleTimeoutMillis: 10_000,
      }),
    hearFailure,
  );
  // A connection that breaks while nobody uses it is replaced by the next use.
  pool.on('error', (error) => log.warn({ tenantId, reason: errorMessage(error) }, 'an idle connection broke'));
  try {
    const client = (await pool.connect()) as PoolClient & CountedClient;
    // A migration takes what it needs, and a server that has become a black hole in the middle of it never says that it has failed.
    const abandon = () => client.destroy();
    signal?.addEventListener('abort', abandon, { once: true });
    let failed = true;
    try {
      signal?.throwIfAborted();
      await migrate(client, tenantId);
      failed = false;
    } finally {
      signal?.removeEventListener('abort', abandon);
      client.release(failed);
    }
  } catch (error) {
    await close();
    signal?.throwIfAborted();
    if (error instanceof MatcherError && error.remedy === 'not-now') throw error;
    throw new MatcherError('DATABASE_UNAVAILABLE', `The tenant's database cannot be used (${errorCode(error)})`, {
      remedy: 'not-now',
      cause: error,
    });
  }
  stands = true;
  // Transactions may last: they keep to the connections that no other pool can claim, and leave one of these to short statements.
  const transactions = new Slots(Math.min(max, settings.POSTGRES_MAX_OPEN_CONNS) - 1);
  const db = tenantDatabase(pool, transactions, statementTimeoutOf(limits, settings));
  const connection = async () => ({
    target: { ...postgres, password: await password() },
    limits,
    timeouts: {
      POSTGRES_CONNECT_TIMEOUT_SEC: settings.POSTGRES_CONNECT_TIMEOUT_SEC,
      POSTGRES_QUERY_TIMEOUT_SEC: settings.POSTGRES_QUERY_TIMEOUT_SEC,
    },
  });
  const target = config.replica;
  const replica =
    target && new Replica(() => openReplicaPool(target, config, settings, budget), log.child({ tenantId }));
  return {
    pool,
    max,
    transactions,
    db,
    seat: seats({ pool, transactions, lend, connection, refused: hearFailure }),
    snapshot: replica ? (work, signal) => replica.snapshot(db, work, signal) : db.snapshot,
    config,
    close: async () => void (await Promise.all([close(), replica?.close()])),
  };
}

/** Whether two targets differ by how they are connected to, at most. */
function isSameRole(one: PostgresTarget, other: PostgresTarget): boolean {
  return (['host', 'port', 'database', 'user'] as const).every((part) => one[part] === other[part]);
}

/** Whether an opening failed because of something that its configuration says. */
function isOutdated(error: unknown): boolean {
  if (!(error instanceof MatcherError)) return false;
  return error.code === 'DATABASE_OF_ANOTHER_TENANT' || isRefusal(error.cause);
}

/** PostgreSQL knows no such role, password or database: what was right once is not any more. */
function isRefusal(error: unknown): boolean {
  return /^(28...|3D000)$/.test(errorCode(error));
}
