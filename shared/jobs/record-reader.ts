import { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { connectionOptions } from '../postgres/connection-options.ts';
import { overBroken } from '../postgres/over-broken.ts';
import { tenantDatabase } from '../postgres/tenant-database.ts';
import { Slots } from '../slots.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { type JobRow, readJob } from './record.ts';

/** Reads a tenant's job records, for whoever publishes its jobs. */
export interface RecordReader {
  /**
   * The job's record, or `undefined` when no worker has begun it yet.
   *
   * @throws MatcherError `DATABASE_UNAVAILABLE`, and what the source throws.
   */
  read(jobId: string): Promise<JobRow | undefined>;
  close(): Promise<void>;
}

/** PostgreSQL manual, appendix "PostgreSQL Error Codes": no worker has opened this database yet, so there is no job either. */
const undefinedTable = '42P01';

/** Over one connection of its own, made when the first record is asked for and anew, with the configuration of then, after a failure. */
export function openRecordReader(
  tenantId: TenantId,
  source: TenantSource,
  settings: Settings,
  log: Logger,
): RecordReader {
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

  const read = async (jobId: string) => {
    opening ??= open();
    const pool = opening;
    try {
      return await readJob(tenantDatabase(await pool, new Slots(1), settings.POSTGRES_QUERY_TIMEOUT_SEC * 1000), jobId);
    } catch (error) {
      const code = errorCode(error);
      if (code === undefinedTable) return undefined;
      if (opening === pool) void close(pool);
      // Refused credentials may be rotated ones, and a database that is not there may have moved: the next try asks where it is now.
      if (/^(28|3D)/.test(code)) source.forget(tenantId);
      throw error;
    }
  };

  return {
    async read(jobId) {
      try {
        return await overBroken.execute(() => read(jobId));
      } catch (error) {
        if (error instanceof MatcherError) throw error;
        throw new MatcherError('DATABASE_UNAVAILABLE', `The tenant's database cannot be read (${errorCode(error)})`, {
          remedy: 'not-now',
          cause: error,
        });
      }
    },
    close: () => close(),
  };
}
