import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { Slots } from '../slots.ts';
import { type PostgresTarget, type TenantConfig, tlsProblem } from '../tenancy/tenant-config.ts';
import { connectionOptions } from './connection-options.ts';
import type { CountedPool, ServerBudget } from './server-budget.ts';
import { type TenantDatabase, tenantDatabase } from './tenant-database.ts';
import type { Transaction } from './transaction.ts';

/** How long (seconds) the replica's server may take to accept a connection: there is another one that has what is asked for. */
const connectTimeoutSec = 3;

export interface ReplicaPatience {
  /** How long (ms) the replica may take to have what the primary has. */
  catchUpMs: number;
  /** How long (ms) one that could not be used is left alone, so that not every reader pays for finding that out. */
  restMs: number;
}

/**
 * A tenant's read-only copy of its database. It may be away, behind, or no replica at all: whatever is wrong with it concerns it alone, and what was to be
 * read from it is read from the primary instead.
 */
export class Replica {
  readonly #open: () => CountedPool;
  readonly #log: Logger;
  readonly #patience: ReplicaPatience;
  #opened: { db: TenantDatabase; close(): Promise<void> } | undefined;
  #restUntil = 0;

  /**
   * @param open called when the replica is used for the first time; what it throws is one of the things that can be wrong. The pool has at least two
   *   connections: one is read from, the other cancels what runs on it.
   */
  constructor(open: () => CountedPool, log: Logger, patience: ReplicaPatience = { catchUpMs: 3000, restMs: 30_000 }) {
    this.#open = open;
    this.#log = log;
    this.#patience = patience;
  }

  /**
   * Runs `work` in one read-only transaction that sees at least all that was committed on the primary when this was called: on the replica, if that has it
   * soon, else on the primary. When the replica fails in the middle, `work` is begun again, on the primary.
   */
  async snapshot<T>(
    primary: TenantDatabase,
    work: (tx: Transaction) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    if (performance.now() >= this.#restUntil) {
      let verdict: unknown;
      try {
        const db = await this.#caughtUp(primary);
        return await db.snapshot(async (tx) => {
          try {
            return await work(tx);
          } catch (error) {
            if (error instanceof MatcherError) verdict = error;
            throw error;
          }
        }, signal);
      } catch (error) {
        // What the work itself has found out would be the same on the primary, and a work that was told to end is not begun again.
        if (signal?.aborted || error === verdict) throw error;
        this.#restUntil = performance.now() + this.#patience.restMs;
        this.#log.warn(
          { code: errorCode(error), reason: errorMessage(error) },
          'the tenant’s replica can’t be used; reading from the primary',
        );
      }
    }
    return await primary.snapshot(work, signal);
  }

  /** Closes what was opened. Never throws. */
  async close(): Promise<void> {
    this.#restUntil = Number.POSITIVE_INFINITY;
    await this.#opened?.close();
  }

  /** The replica's database, as soon as it has what the primary has committed by now. */
  async #caughtUp(primary: TenantDatabase): Promise<TenantDatabase> {
    const [now] = await primary.query<{ lsn: string; system: string }>(
      'SELECT pg_current_wal_lsn() AS lsn, system_identifier AS system FROM pg_control_system()',
    );
    const db = this.#database();
    const deadline = performance.now() + this.#patience.catchUpMs;
    for (let pause = 10; ; pause = Math.min(pause * 2, 200)) {
      const [found] = await db.query<{ standby: boolean; same: boolean; has_it: boolean; behind: string }>(
        `SELECT pg_is_in_recovery() AS standby, system_identifier = $2 AS same, pg_last_wal_replay_lsn() >= $1 AS has_it,
                $1 - pg_last_wal_replay_lsn() AS behind
           FROM pg_control_system()`,
        [now?.lsn, now?.system],
      );
      if (!found?.standby) throw new MatcherError('REPLICA_UNFIT', 'The server is no replica, but a primary');
      if (!found.same) throw new MatcherError('REPLICA_UNFIT', 'The server is the replica of another primary');
      if (found.has_it) return db;
      if (performance.now() >= deadline) {
        throw new MatcherError('REPLICA_BEHIND', `The replica is ${found.behind} bytes behind the primary`);
      }
      await delay(pause);
    }
  }

  #database(): TenantDatabase {
    if (!this.#opened) {
      const { pool, close } = this.#open();
      // Outside of transactions it is only asked how far it is.
      const db = tenantDatabase(pool, new Slots(pool.options.max - 1), this.#patience.catchUpMs);
      this.#opened = { db, close };
    }
    return this.#opened.db;
  }
}

/**
 * The pool of a tenant's replica. Its connections count for the replica's server, as those of any other pool.
 *
 * @throws MatcherError `SERVICE_NOT_CONFIGURED`, `CERTIFICATE_UNREADABLE`
 */
export function openReplicaPool(
  target: PostgresTarget,
  { tenantId, limits }: TenantConfig,
  settings: Settings,
  budget: ServerBudget,
): CountedPool {
  const problem = tlsProblem(target);
  if (problem) throw new MatcherError('SERVICE_NOT_CONFIGURED', `The replica of tenant ${tenantId}: ${problem}`);
  const connectSec = Math.min(settings.POSTGRES_CONNECT_TIMEOUT_SEC, connectTimeoutSec);
  const options = connectionOptions(
    target,
    { ...settings, POSTGRES_CONNECT_TIMEOUT_SEC: connectSec },
    'matcher',
    limits,
  );
  const max = Math.max(2, Math.min(limits.maxOpenConns, settings.POSTGRES_MAX_OPEN_CONNS));
  const counted = budget.pool(
    `${target.host.toLowerCase()}:${target.port}`,
    connectSec * 1000,
    (client) => new Pool({ ...options, Client: client, max, idleTimeoutMillis: 10_000 }),
    () => {},
  );
  // The end of an idle connection is nobody's loss.
  counted.pool.on('error', () => {});
  return counted;
}
