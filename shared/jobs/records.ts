import { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { connectionOptions } from '../postgres/connection-options.ts';
import { migrate } from '../postgres/migrate.ts';
import { overBroken } from '../postgres/over-broken.ts';
import { type TenantDatabase, tenantDatabase } from '../postgres/tenant-database.ts';
import { Slots } from '../slots.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';

/** A tenant's job records, for whoever does not work on its jobs: publishers, and people who look after them. */
export interface JobRecords {
  /**
   * Runs `work`, which only reads, in the tenant's database.
   *
   * @returns `undefined` when no worker has opened that database yet, so that there are no records.
   * @throws MatcherError `DATABASE_UNAVAILABLE`, `SCHEMA_TOO_OLD`, and what the source throws.
   */
  read<T>(work: (db: TenantDatabase) => Promise<T>): Promise<T | undefined>;
  /**
   * Runs `work`, which may be run twice when a connection breaks. A database that no worker has opened yet gets its schema first.
   *
   * @throws MatcherError as `read` does.
   */
  write<T>(work: (db: TenantDatabase) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** PostgreSQL manual, appendix "PostgreSQL Error Codes": undefined_table, undefined_column. */
const missing = /^(42P01|42703)$/;

/** Over one connection of its own, made when it is first needed and anew, with the configuration of then, after a failure. */
export function openJobRecords(tenantId: TenantId, source: TenantSource, settings: Settings, log: Logger): JobRecords {
  let opening: Promise<Pool> | undefined;

  const open = async () => {
    const { postgres } = await source.config(tenantId);
    const pool = new Pool({ ...connectionOptions(postgres, settings, 'matcher client'), max: 1 });
    pool.on('error', (error) => log.debug({ reason: errorMessage(error) }, 'an idle connection broke'));
    return pool;
  };
  const close = async (pool = opening) => {
    if (opening === pool) opening = undefined;
    await (await pool?.catch(() => undefined))?.end();
  };

  const use = async <T>(work: (pool: Pool) => Promise<T>): Promise<T> => {
    const attempt = async () => {
      opening ??= open();
      const pool = opening;
      try {
        return await work(await pool);
      } catch (error) {
        const code = errorCode(error);
        if (opening === pool && !missing.test(code)) void close(pool);
        // Refused credentials may be rotated ones, and a database that is not there may have moved: the next try asks where it is now.
        if (/^(28|3D)/.test(code)) source.forget(tenantId);
        throw error;
      }
    };
    try {
      return await overBroken.execute(attempt);
    } catch (error) {
      if (error instanceof MatcherError || missing.test(errorCode(error))) throw error;
      throw new MatcherError('DATABASE_UNAVAILABLE', `The tenant's database cannot be used (${errorCode(error)})`, {
        remedy: 'not-now',
        cause: error,
      });
    }
  };
  const database = (pool: Pool) => tenantDatabase(pool, new Slots(1), settings.POSTGRES_QUERY_TIMEOUT_SEC * 1000);

  /** @returns `undefined` when tables or columns that it needs are missing. */
  const attempted = async <T>(work: (db: TenantDatabase) => Promise<T>): Promise<{ value: T } | undefined> => {
    try {
      return { value: await use((pool) => work(database(pool))) };
    } catch (error) {
      if (missing.test(errorCode(error))) return undefined;
      throw error;
    }
  };
  const isUnopened = () =>
    use(async (pool) => (await pool.query(`SELECT to_regclass('jobs') IS NULL AS it`)).rows[0].it as boolean);
  /** A worker has opened it just now, or an older one has long ago. */
  const again = async <T>(work: (db: TenantDatabase) => Promise<T>): Promise<T> => {
    const done = await attempted(work);
    if (done) return done.value;
    throw new MatcherError('SCHEMA_TOO_OLD', 'No worker of this release has opened the tenant’s database yet', {
      hint: 'Update the workers first: the first one that opens the database brings it up to date.',
      remedy: 'not-now',
    });
  };

  return {
    async read(work) {
      const done = await attempted(work);
      if (done) return done.value;
      return (await isUnopened()) ? undefined : await again(work);
    },
    async write(work) {
      const done = await attempted(work);
      if (done) return done.value;
      if (await isUnopened()) await use((pool) => prepare(pool, tenantId));
      return await again(work);
    },
    close: () => close(),
  };
}

async function prepare(pool: Pool, tenantId: TenantId): Promise<void> {
  const client = await pool.connect();
  try {
    await migrate(client, tenantId);
  } finally {
    client.release();
  }
}
