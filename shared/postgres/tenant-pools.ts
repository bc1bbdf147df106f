import { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { Slots } from '../slots.ts';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { connectionOptions } from './connection-options.ts';
import { migrate } from './migrate.ts';

/** A tenant's pool, held for as long as a job needs it. A held pool is never closed. */
export interface PoolLease {
  readonly pool: Pool;
  /** Permits for transactions on the pool, one fewer than its connections. */
  readonly transactions: Slots;
  readonly config: TenantConfig;
  release(): void;
}

interface Opened {
  pool: Pool;
  transactions: Slots;
  config: TenantConfig;
}

/** One tenant's place among the pools: opening, open or closing. It counts against the limit until it is gone. */
interface Place {
  opened: Promise<Opened>;
  leases: number;
  /** Its tenant is gone: closed by whoever leaves last. */
  retired: boolean;
  closing?: Promise<void>;
  idleTimer?: NodeJS.Timeout;
}

/** How long (ms) a tenant waits for another one's pool to become free before its job is put off. */
const maxWait = 10_000;

/**
 * The tenants' database pools: opened on first use, shared by concurrent users, never more than MULTI_TENANT_MAX_TENANT_POOLS at any
 * moment, closing ones included. The least recently used pool that nobody holds makes room; when all are held, the next tenant
 * waits its turn, first come first served.
 */
export class TenantPools {
  /** Least recently used first: a use moves its place to the end. */
  readonly #places = new Map<TenantId, Place>();
  readonly #waiters: (() => void)[] = [];
  /** Places promised to waiters that have been called and are not in yet; nobody else may take them. */
  #promised = 0;
  readonly #source: TenantSource;
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #onOpen: ((tenantId: TenantId) => void) | undefined;
  #closed = false;

  /** @param onOpen is called after a tenant's database was opened, so that what a crash left there can be taken up. */
  constructor(source: TenantSource, settings: Settings, log: Logger, onOpen?: (tenantId: TenantId) => void) {
    this.#source = source;
    this.#settings = settings;
    this.#log = log;
    this.#onOpen = onOpen;
  }

  /** Places in use, to be shown. */
  get size(): number {
    return this.#places.size;
  }

  /**
   * @throws MatcherError `POOLS_BUSY` when no place became free in time, and what the opening throws: `TENANT_NOT_FOUND`,
   *   `TENANT_SUSPENDED`, `SCHEMA_TOO_NEW`, `DATABASE_UNAVAILABLE`.
   */
  async lease(tenantId: TenantId): Promise<PoolLease> {
    const deadline = Date.now() + maxWait;
    let promised = false;
    try {
      for (;;) {
        if (this.#closed) throw new MatcherError('SHUTTING_DOWN', 'The process is stopping', { remedy: 'not-now' });
        const place = this.#places.get(tenantId);
        if (place && !place.closing) return await this.#enter(tenantId, place);
        if (place) {
          await place.closing;
          continue;
        }
        const free = this.#settings.MULTI_TENANT_MAX_TENANT_POOLS - this.#places.size - this.#promised;
        if (promised || (free > 0 && this.#waiters.length === 0)) {
          if (promised) this.#promised--;
          promised = false;
          return await this.#enter(tenantId, this.#open(tenantId));
        }
        this.#makeRoom();
        await this.#waitForPlace(deadline);
        promised = true;
      }
    } finally {
      if (promised) {
        this.#promised--;
        this.#admitNext();
      }
    }
  }

  /** Closes the pool of a tenant that is gone, as soon as its last user has left. */
  async retire(tenantId: TenantId): Promise<void> {
    const place = this.#places.get(tenantId);
    if (!place) return;
    place.retired = true;
    if (place.leases === 0) await this.#close(tenantId, place, 'removed');
  }

  /** Closes all pools; whoever still holds one keeps it until it is released. */
  async closeAll(): Promise<void> {
    this.#closed = true;
    while (this.#waiters.length > 0) this.#admitNext();
    await Promise.all([...this.#places].map(([tenantId, place]) => this.#close(tenantId, place, 'stop')));
  }

  async #enter(tenantId: TenantId, place: Place): Promise<PoolLease> {
    place.leases++;
    clearTimeout(place.idleTimer);
    this.#places.delete(tenantId);
    this.#places.set(tenantId, place);
    try {
      const { pool, transactions, config } = await place.opened;
      let released = false;
      const release = () => {
        if (released) return;
        released = true;
        this.#leave(tenantId, place);
      };
      return { pool, transactions, config, release };
    } catch (error) {
      place.leases--;
      throw error;
    }
  }

  #leave(tenantId: TenantId, place: Place): void {
    place.leases--;
    if (place.leases > 0 || place.closing) return;
    if (place.retired || this.#waiters.length > 0) {
      void this.#close(tenantId, place, place.retired ? 'removed' : 'limit');
      return;
    }
    const idle = this.#settings.MULTI_TENANT_IDLE_TIMEOUT_SEC * 1000;
    place.idleTimer = setTimeout(() => void this.#close(tenantId, place, 'idle'), idle).unref();
  }

  #open(tenantId: TenantId): Place {
    const place: Place = { leases: 0, retired: false, opened: this.#openPool(tenantId) };
    this.#places.set(tenantId, place);
    place.opened.then(
      () => this.#onOpen?.(tenantId),
      () => {
        // A failed opening leaves its place at once: the next use tries anew.
        if (this.#places.get(tenantId) === place) this.#places.delete(tenantId);
        this.#admitNext();
      },
    );
    return place;
  }

  async #openPool(tenantId: TenantId): Promise<Opened> {
    const config = await this.#source.config(tenantId);
    const { maxOpenConns, maxIdleConns } = config.limits;
    // A job works on one connection and keeps its claim alive on another.
    const max = Math.max(2, maxOpenConns);
    const pool = new Pool({
      ...connectionOptions(config.postgres, this.#settings, 'matcher'),
      max,
      // Connections that stay although nobody uses them; the others close after their idle time.
      min: Math.min(maxIdleConns, max),
      idleTimeoutMillis: 10_000,
    });
    // A connection that breaks while nobody uses it is replaced by the next use.
    pool.on('error', (error) => this.#log.warn({ tenantId, reason: errorMessage(error) }, 'an idle connection broke'));
    try {
      const client = await pool.connect();
      try {
        await migrate(client);
      } finally {
        client.release();
      }
    } catch (error) {
      await pool.end().catch(() => {});
      if (error instanceof MatcherError) throw error;
      throw new MatcherError('DATABASE_UNAVAILABLE', `The tenant's database cannot be used (${errorCode(error)})`, {
        remedy: 'not-now',
        cause: error,
      });
    }
    this.#log.info({ tenantId, open: this.#places.size }, 'opened the tenant’s database');
    return { pool, transactions: new Slots(max - 1), config };
  }

  #makeRoom(): void {
    for (const [tenantId, place] of this.#places) {
      if (place.closing) return; // room is on its way
      if (place.leases === 0) {
        void this.#close(tenantId, place, 'limit');
        return;
      }
    }
  }

  #close(tenantId: TenantId, place: Place, reason: string): Promise<void> {
    clearTimeout(place.idleTimer);
    place.closing ??= (async () => {
      const opened = await place.opened.catch(() => undefined);
      await opened?.pool.end();
      if (this.#places.get(tenantId) === place) this.#places.delete(tenantId);
      this.#log.info({ tenantId, reason, open: this.#places.size }, 'closed the tenant’s database');
      this.#admitNext();
    })();
    return place.closing;
  }

  #waitForPlace(deadline: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = () => {
      this.#promised++;
      resolve();
    };
    const timer = setTimeout(() => {
      const index = this.#waiters.indexOf(waiter);
      if (index >= 0) this.#waiters.splice(index, 1);
      reject(
        new MatcherError('POOLS_BUSY', `All ${this.#places.size} tenant pools are in use`, {
          hint: 'Raise MULTI_TENANT_MAX_TENANT_POOLS or start more processes.',
          remedy: 'not-now',
        }),
      );
    }, deadline - Date.now());
    this.#waiters.push(waiter);
    return promise.finally(() => clearTimeout(timer));
  }

  #admitNext(): void {
    this.#waiters.shift()?.();
  }
}
