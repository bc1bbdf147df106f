import type { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import { MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Slots } from '../slots.ts';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { type OpenedPool, openPool } from './open-pool.ts';

/** A tenant's pool, held for as long as a job needs it. A held pool is never closed. */
export interface PoolLease {
  readonly pool: Pool;
  /** Permits for transactions on the pool, one fewer than its connections. */
  readonly transactions: Slots;
  readonly config: TenantConfig;
  release(): void;
}

/** One tenant's place among the pools: opening, open or closing. It counts against the limit until it is gone. */
interface Place {
  opened: Promise<OpenedPool>;
  leases: number;
  /** Its tenant is gone: nobody else comes in, and whoever leaves last closes it. */
  retired: boolean;
  closing: boolean;
  gone: PromiseWithResolvers<void>;
  idleTimer?: NodeJS.Timeout;
}

interface Waiter {
  tenantId: TenantId;
  admit(lease: Promise<PoolLease>): void;
  refuse(error: Error): void;
}

export interface TenantPoolsOptions {
  /** Called after a tenant's database was opened, so that what a crash left there can be taken up. */
  onOpen?: (tenantId: TenantId) => void;
  /** How long a tenant waits for another one's pool to become free before its job is put off. Default: 10,000. */
  maxWaitMs?: number;
}

/**
 * The tenants' database pools: opened on first use, shared by concurrent users, never more than MULTI_TENANT_MAX_TENANT_POOLS at any
 * moment, closing ones included. The least recently used pool that nobody holds makes room; when all are held, the next tenant
 * waits its turn, first come first served.
 */
export class TenantPools {
  /** Least recently used first: coming and leaving move a place to the end. */
  readonly #places = new Map<TenantId, Place>();
  /** In order of coming. Nobody waits while there is a free place; a tenant that has a place has no waiters. */
  #waiters: Waiter[] = [];
  readonly #source: TenantSource;
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #onOpen: ((tenantId: TenantId) => void) | undefined;
  readonly #maxWaitMs: number;
  #closed = false;

  constructor(source: TenantSource, settings: Settings, log: Logger, options: TenantPoolsOptions = {}) {
    this.#source = source;
    this.#settings = settings;
    this.#log = log;
    this.#onOpen = options.onOpen;
    this.#maxWaitMs = options.maxWaitMs ?? 10_000;
  }

  /** Places in use, to be shown. */
  get size(): number {
    return this.#places.size;
  }

  /**
   * @throws MatcherError `POOLS_BUSY` when no place became free in time, `SHUTTING_DOWN`, and what the opening throws:
   *   `TENANT_NOT_FOUND`, `TENANT_SUSPENDED`, `SCHEMA_TOO_NEW`, `DATABASE_UNAVAILABLE`.
   */
  async lease(tenantId: TenantId): Promise<PoolLease> {
    const deadline = Date.now() + this.#maxWaitMs;
    for (;;) {
      if (this.#closed) throw shuttingDown();
      const place = this.#places.get(tenantId);
      if (place && !place.closing && !place.retired) return await this.#enter(tenantId, place);
      if (!place) {
        if (this.#hasFreePlace()) return await this.#enter(tenantId, this.#open(tenantId));
        return await this.#waitForPlace(tenantId, deadline);
      }
      await this.#inTime(place.gone.promise, deadline);
    }
  }

  /** Closes the pool of a tenant that is gone, as soon as its last user has left. */
  async retire(tenantId: TenantId): Promise<void> {
    const place = this.#places.get(tenantId);
    if (!place) return;
    place.retired = true;
    if (place.leases === 0) await this.#close(tenantId, place, 'removed');
  }

  /** Closes all pools and ends when they are closed; whoever holds one keeps it until it is released. */
  async closeAll(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.refuse(shuttingDown());
    const places = [...this.#places];
    for (const [tenantId] of places) void this.retire(tenantId);
    await Promise.all(places.map(([, place]) => place.gone.promise));
  }

  async #enter(tenantId: TenantId, place: Place): Promise<PoolLease> {
    place.leases++;
    clearTimeout(place.idleTimer);
    this.#touch(tenantId, place);
    const opened = await place.opened;
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      this.#leave(tenantId, place);
    };
    const { pool, transactions, config } = opened;
    return { pool, transactions, config, release };
  }

  #leave(tenantId: TenantId, place: Place): void {
    place.leases--;
    this.#touch(tenantId, place);
    if (place.leases > 0) return;
    if (place.retired) {
      void this.#close(tenantId, place, 'removed');
      return;
    }
    const idle = this.#settings.MULTI_TENANT_IDLE_TIMEOUT_SEC * 1000;
    place.idleTimer = setTimeout(() => void this.#close(tenantId, place, 'idle'), idle).unref();
    this.#makeRoom();
  }

  #touch(tenantId: TenantId, place: Place): void {
    this.#places.delete(tenantId);
    this.#places.set(tenantId, place);
  }

  #hasFreePlace(): boolean {
    return this.#places.size < this.#settings.MULTI_TENANT_MAX_TENANT_POOLS;
  }

  /** Takes a free place. Whoever calls this enters it at once. */
  #open(tenantId: TenantId): Place {
    const place: Place = {
      opened: openPool(tenantId, this.#source, this.#settings, this.#log),
      leases: 0,
      retired: false,
      closing: false,
      gone: Promise.withResolvers(),
    };
    this.#places.set(tenantId, place);
    place.opened.then(
      () => {
        this.#log.info({ tenantId, open: this.#places.size }, 'opened the tenant’s database');
        this.#onOpen?.(tenantId);
      },
      // A failed opening leaves its place at once: the next use tries anew.
      () => this.#vacate(tenantId, place),
    );
    return place;
  }

  #close(tenantId: TenantId, place: Place, reason: string): Promise<void> {
    clearTimeout(place.idleTimer);
    if (!place.closing) {
      place.closing = true;
      void place.opened
        .then((opened) => opened.close())
        .finally(() => {
          this.#vacate(tenantId, place);
          this.#log.info({ tenantId, reason, open: this.#places.size }, 'closed the tenant’s database');
        });
    }
    return place.gone.promise;
  }

  /** Gives the place of what is gone to the tenant that has waited longest, and lets all in who wait for that tenant. */
  #vacate(tenantId: TenantId, place: Place): void {
    this.#places.delete(tenantId);
    place.gone.resolve();
    const [first] = this.#waiters;
    if (!first || !this.#hasFreePlace()) return;
    const next = this.#open(first.tenantId);
    const admitted = this.#waiters.filter((waiter) => waiter.tenantId === first.tenantId);
    this.#waiters = this.#waiters.filter((waiter) => waiter.tenantId !== first.tenantId);
    for (const waiter of admitted) waiter.admit(this.#enter(first.tenantId, next));
  }

  /** Closes idle pools, the least recently used first, until there is a closing one for every tenant that waits. */
  #makeRoom(): void {
    let missing = new Set(this.#waiters.map(({ tenantId }) => tenantId)).size;
    for (const place of this.#places.values()) if (place.closing) missing--;
    for (const [tenantId, place] of this.#places) {
      if (missing <= 0) return;
      if (place.leases > 0 || place.closing) continue;
      void this.#close(tenantId, place, 'limit');
      missing--;
    }
  }

  #waitForPlace(tenantId: TenantId, deadline: number): Promise<PoolLease> {
    const { promise, resolve: admit, reject: refuse } = Promise.withResolvers<PoolLease>();
    const waiter: Waiter = { tenantId, admit, refuse };
    this.#waiters.push(waiter);
    this.#makeRoom();
    const timer = setTimeout(() => {
      const index = this.#waiters.indexOf(waiter);
      if (index < 0) return;
      this.#waiters.splice(index, 1);
      refuse(this.#busy());
    }, deadline - Date.now());
    return promise.finally(() => clearTimeout(timer));
  }

  async #inTime(event: Promise<void>, deadline: number): Promise<void> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(this.#busy()), deadline - Date.now());
    await Promise.race([event, late]).finally(() => clearTimeout(timer));
  }

  #busy(): MatcherError {
    return new MatcherError('POOLS_BUSY', `All ${this.#places.size} tenant pools are in use`, {
      hint: 'Raise MULTI_TENANT_MAX_TENANT_POOLS or start more processes.',
      remedy: 'not-now',
    });
  }
}

function shuttingDown(): MatcherError {
  return new MatcherError('SHUTTING_DOWN', 'The process is stopping', { remedy: 'not-now' });
}
