import type { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import { errorCode, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { type OpenedPool, type OpenTenantPool, poolOpener } from './open-pool.ts';
import { PlaceQueue, type Waiter } from './place-queue.ts';
import { type CloseReason, isSameDatabase, PoolPlace } from './pool-place.ts';
import { PoolPlaces } from './pool-places.ts';
import type { TakeSeat } from './seat.ts';
import type { TenantDatabase } from './tenant-database.ts';

/** A tenant's pool, held for as long as a job needs it. A held pool is never closed. */
export interface PoolLease {
  readonly pool: Pool;
  readonly db: TenantDatabase;
  /** As `db.snapshot`, on the tenant's replica when it has one that can be used. */
  readonly snapshot: TenantDatabase['snapshot'];
  readonly seat: TakeSeat;
  readonly config: TenantConfig;
  release(): void;
}

export interface TenantPoolsOptions {
  /** Called after a tenant's database was opened, so that what a crash left there can be taken up. */
  onOpen?: (tenantId: TenantId) => void;
  /** Called when PostgreSQL refused the credentials of an open pool: whoever knows how asks for new ones at once. */
  onRefused?: (tenantId: TenantId) => void;
  metrics?: Metrics;
  /** How long a tenant waits for another one's pool to become free before its job is put off. Default: 10,000. */
  maxWaitMs?: number;
  /** How a pool is opened. Default: from the source's configuration, on the tenant's server. */
  open?: OpenTenantPool;
}

/** How long (ms) a closing place is counted on before another one is closed, too: a server that has become a black hole takes seconds. */
const promptMs = 250;

/** How long (ms) a pool that is in use without a break lets its tenant's leases in past others who wait. */
const turnMs = 1000;

/**
 * The tenants' database pools: opened on first use, shared by concurrent users, never more than MULTI_TENANT_MAX_TENANT_POOLS at any
 * moment, closing and replaced ones included. The least recently used pool that nobody holds makes room; when all are held, the next
 * tenant waits its turn, first come first served, and those whose pools have had theirs queue behind it.
 */
export class TenantPools {
  readonly #places: PoolPlaces;
  /** Nobody waits while there is a free place. */
  readonly #queue: PlaceQueue;
  readonly #idleMs: number;
  readonly #log: Logger;
  readonly #open: OpenTenantPool;
  readonly #options: TenantPoolsOptions;
  readonly #metrics: Metrics | undefined;
  #closed = false;

  constructor(source: TenantSource, settings: Settings, log: Logger, options: TenantPoolsOptions = {}) {
    this.#places = new PoolPlaces(settings.MULTI_TENANT_MAX_TENANT_POOLS);
    this.#idleMs = settings.MULTI_TENANT_IDLE_TIMEOUT_SEC * 1000;
    this.#log = log;
    this.#open = options.open ?? poolOpener(source, settings, log);
    this.#options = options;
    this.#metrics = options.metrics;
    this.#queue = new PlaceQueue(options.maxWaitMs ?? 10_000, (waiter) => {
      waiter.refuse(this.#busy());
      this.#serve();
    });
  }

  /** `open` counts every place, opening and closing ones included. */
  state(): { open: number; leased: number; closing: number; waiting: number } {
    const leased = this.#places.count(({ leases }) => leases > 0);
    const closing = this.#places.count((place) => place.closing);
    return { open: this.#places.size, leased, closing, waiting: this.#queue.length };
  }

  /** Those who have a pool now, or one that is being opened. */
  tenants(): TenantId[] {
    return this.#places.tenants();
  }

  /** What goes on in a tenant's open pool; `waiting` are those who wait for one of its connections. */
  poolOf(
    tenantId: TenantId,
  ): { leases: number; connections: number; idle: number; waiting: number; max: number } | undefined {
    const place = this.#places.current(tenantId);
    if (!place?.pool) return undefined;
    const { totalCount, idleCount, waitingCount } = place.pool.pool;
    const { leases, pool } = place;
    return { leases, connections: totalCount, idle: idleCount, waiting: waitingCount, max: pool.max };
  }

  /**
   * @throws MatcherError `POOLS_BUSY` when no place became free in time, `TENANT_REMOVED` when the tenant was retired meanwhile,
   *   `SHUTTING_DOWN`, and what the opening throws: `TENANT_NOT_FOUND`, `TENANT_SUSPENDED`, `SCHEMA_TOO_NEW`, `DATABASE_OF_ANOTHER_TENANT`,
   *   `DATABASE_UNAVAILABLE`.
   */
  async lease(tenantId: TenantId): Promise<PoolLease> {
    if (this.#closed) throw shuttingDown();
    const open = this.#queue.length === 0 ? this.#places.current(tenantId) : undefined;
    if (open?.pool) {
      this.#metrics?.poolWait.observe(0);
      this.#come(open);
      this.#report();
      return this.#hold(open, open.pool);
    }
    const { promise, resolve, reject } = Promise.withResolvers<PoolLease>();
    const asked = performance.now();
    const waited = () => this.#metrics?.poolWait.observe((performance.now() - asked) / 1000);
    this.#seat({
      tenantId,
      admit: (place) => {
        waited();
        resolve(this.#enter(place));
      },
      refuse: (error) => {
        waited();
        reject(error);
      },
    });
    return await promise;
  }

  /**
   * Takes note of a tenant's present configuration. When its open pool was opened with another one, a new pool takes over as soon as it
   * stands; until then, and when it can't be opened, the old one goes on. Returns at once.
   */
  refresh(config: TenantConfig): void {
    const place = this.#places.current(config.tenantId);
    if (!place) return;
    place.wanted = config;
    this.#compare(place);
  }

  /** Lets nobody of a tenant that is gone in, and closes its pool as soon as its last user has left. */
  async retire(tenantId: TenantId): Promise<void> {
    const error = new MatcherError('TENANT_REMOVED', 'The tenant is not active any more', { remedy: 'not-now' });
    const places = this.#places.of(tenantId);
    for (const place of places) this.#revoke(place, 'removed', error);
    this.#queue.refuse(error, (waiter) => waiter.tenantId === tenantId);
    this.#serve();
    await Promise.all(places.filter(({ closing }) => closing).map(({ gone }) => gone.promise));
  }

  /** Closes all pools and ends when they are closed; whoever holds one keeps it until it is released. */
  async closeAll(): Promise<void> {
    this.#closed = true;
    const places = this.#places.all();
    for (const place of places) this.#revoke(place, 'stopping', shuttingDown());
    this.#queue.refuse(shuttingDown(), () => true);
    this.#report();
    await Promise.all(places.map(({ gone }) => gone.promise));
  }

  #come(place: PoolPlace): void {
    place.come();
    this.#places.used(place);
  }

  async #enter(place: PoolPlace): Promise<PoolLease> {
    this.#come(place);
    const lease = this.#hold(place, await place.opened);
    if (place.refusal) {
      lease.release();
      throw place.refusal;
    }
    return lease;
  }

  #hold(place: PoolPlace, { pool, db, snapshot, seat, config }: OpenedPool): PoolLease {
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      this.#leave(place);
    };
    return { pool, db, snapshot, seat, config: place.config ?? config, release };
  }

  #leave(place: PoolPlace): void {
    place.leave();
    this.#places.used(place);
    if (place.leases === 0) {
      if (place.leaving) this.#close(place, place.leaving);
      // Nobody is hurt when it is closed before its successor stands.
      else if (this.#awaitsSuccessor(place)) this.#dismiss(place, 'replaced');
      else this.#rest(place);
    }
    this.#serve();
  }

  /** Gives a waiter its place now, or lets it queue. */
  #seat(waiter: Waiter): void {
    if (this.#admits(waiter, this.#queue.length === 0)) {
      this.#report();
      return;
    }
    this.#queue.join(waiter);
    this.#makeRoom();
    this.#report();
  }

  /** Lets in whoever can be let in, in order of coming. */
  #serve(): void {
    if (this.#queue.length === 0) {
      this.#report();
      return;
    }
    // Before anybody is let in: a pool that had its turn and is idle at last goes to those in front, not to its own tenant behind them.
    this.#makeRoom();
    let first = true;
    for (const waiter of this.#queue) {
      if (this.#admits(waiter, first)) this.#queue.leave(waiter);
      else first = false;
    }
    this.#report();
  }

  /** @param first nobody waits before it: only then may it open a pool, or join one that has had its turn. */
  #admits(waiter: Waiter, first: boolean): boolean {
    const { tenantId, successorOf: old } = waiter;
    const place = old ? undefined : this.#places.current(tenantId);
    if (place) {
      if (!first && place.hadItsTurn(turnMs)) return false;
      waiter.admit(place);
      return true;
    }
    if (!first || this.#places.full) return false;
    waiter.admit(this.#take(tenantId, old));
    return true;
  }

  /** Closes idle pools, the least recently used first, until there is a free or closing one for everybody who waits for a place. */
  #makeRoom(): void {
    for (const place of this.#places.all()) {
      if (!place.idle) continue;
      if (this.#missing() <= 0) return;
      this.#dismiss(place, 'limit');
    }
  }

  #missing(): number {
    const free = this.#places.limit - this.#places.size;
    const coming = this.#places.count(({ closing, slow }) => closing && !slow);
    const tenants = new Set<TenantId>();
    let successors = 0;
    for (const { tenantId, successorOf } of this.#queue) {
      if (successorOf) successors++;
      else if (!this.#places.current(tenantId)) tenants.add(tenantId);
    }
    return tenants.size + successors - free - coming;
  }

  /** Opens a pool in a free place: with its old one's wanted configuration, or with the source's. */
  #take(tenantId: TenantId, old?: PoolPlace): PoolPlace {
    const config = old?.wanted;
    const abandon = new AbortController();
    const opened = this.#open(tenantId, config, (code) => this.#refused(place, code), abandon.signal);
    const place: PoolPlace = new PoolPlace(tenantId, opened, abandon);
    this.#places.add(place, old);
    place.opened.then(
      (pool) => {
        place.pool = pool;
        place.config = pool.config;
        this.#metrics?.poolsCreated.inc();
        this.#log.info({ tenantId, open: this.#places.size }, 'opened the tenant’s database');
        if (place.leaving) {
          if (place.leases === 0) this.#close(place, place.leaving);
          return;
        }
        if (old) {
          place.wanted = old.wanted;
          this.#dismiss(old, 'replaced');
        } else this.#options.onOpen?.(tenantId);
        if (place.leases === 0) this.#rest(place);
        this.#compare(place);
        this.#serve();
      },
      (error) => {
        const code = errorCode(error instanceof MatcherError ? (error.cause ?? error) : error);
        this.#metrics?.connectionErrors.inc({ resource: 'postgresql', code });
        if (old) {
          old.successor = undefined;
          this.#log.warn({ tenantId, code }, 'the changed configuration does not work; the pool stays as it was');
        }
        // A failed opening leaves its place at once: the next use tries anew.
        this.#vacate(place);
        if (old?.wanted && config && !isSameDatabase(old.wanted, config)) this.#compare(old);
      },
    );
    return place;
  }

  /** Starts a place's replacement when it is not what its tenant's configuration asks for. */
  #compare(place: PoolPlace): void {
    const { config, wanted } = place;
    if (!config || !wanted || place.leaving || place.successor || this.#awaitsSuccessor(place)) return;
    if (isSameDatabase(config, wanted)) {
      place.config = wanted;
      return;
    }
    if (place.idle && this.#places.full) {
      this.#dismiss(place, 'replaced');
      return;
    }
    this.#seat({
      tenantId: place.tenantId,
      successorOf: place,
      admit: () => {},
      // In a fleet that is full for so long, the place itself has to become free.
      refuse: () => this.#dismiss(place, 'replaced'),
    });
  }

  #awaitsSuccessor(place: PoolPlace): boolean {
    return [...this.#queue].some(({ successorOf }) => successorOf === place);
  }

  /**
   * PostgreSQL refuses a connection of an open pool, which may be the server's passing fault: what the pool has goes on. Another one takes over when the
   * configuration, which is asked for anew, is not that with which it was opened.
   */
  #refused(place: PoolPlace, code: string): void {
    const { tenantId } = place;
    if (place.leaving) return;
    this.#metrics?.connectionErrors.inc({ resource: 'postgresql', code });
    const level = place.refused ? 'debug' : 'warn';
    place.refused = true;
    this.#log[level]({ tenantId, code }, 'the tenant’s database refuses new connections of an open pool');
    this.#options.onRefused?.(tenantId);
  }

  #rest(place: PoolPlace): void {
    place.rest(this.#idleMs, () => this.#dismiss(place, 'idle'));
  }

  /** As `dismiss`, and those who are still coming in are refused. */
  #revoke(place: PoolPlace, reason: CloseReason, error: Error): void {
    place.refusal = error;
    place.abandon.abort(error);
    this.#dismiss(place, reason);
  }

  /** Lets nobody else in; closes the pool when nobody is left. */
  #dismiss(place: PoolPlace, reason: CloseReason): void {
    if (place.leaving) return;
    place.leaving = reason;
    this.#places.withdraw(place);
    if (reason === 'replaced') this.#metrics?.rotations.inc({ resource: 'postgresql' });
    for (const waiter of this.#queue) if (waiter.successorOf === place) this.#queue.leave(waiter);
    if (place.idle) this.#close(place, reason);
  }

  #close(place: PoolPlace, reason: CloseReason): void {
    place.close();
    this.#report();
    const late = setTimeout(() => {
      place.slow = true;
      this.#serve();
    }, promptMs);
    void place.pool?.close().finally(() => {
      clearTimeout(late);
      this.#metrics?.poolsClosed.inc({ reason });
      this.#vacate(place);
      this.#log.info({ tenantId: place.tenantId, reason, open: this.#places.size }, 'closed the tenant’s database');
    });
  }

  #vacate(place: PoolPlace): void {
    this.#places.remove(place);
    place.gone.resolve();
    this.#serve();
  }

  #report(): void {
    if (!this.#metrics) return;
    const { open, leased, closing, waiting } = this.state();
    this.#metrics.pools.set({ state: 'open' }, open);
    this.#metrics.pools.set({ state: 'leased' }, leased);
    this.#metrics.pools.set({ state: 'closing' }, closing);
    this.#metrics.poolWaiters.set(waiting);
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
