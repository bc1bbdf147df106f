import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { type LifecycleNews, listenForLifecycle } from './lifecycle-listener.ts';
import { MissingTenants } from './missing-tenants.ts';
import type { TenantId } from './tenant-id.ts';
import type { TenantSource } from './tenant-source.ts';

interface DirectoryEvents {
  added: [TenantId];
  removed: [TenantId];
  /** An event said that the tenant's configuration may be another one now. */
  changed: [TenantId];
  /** A comparison with the list has ended, whatever it found. */
  compared: [];
}

/** For how many intervals every list must be empty before a fleet believes that all its tenants are gone. */
const emptyIntervalsToBelieve = 2;

/** For how much of an interval a single tenant must be missing from every list, where nobody can say why. */
const missingIntervalsToBelieve = 0.5;

/** At least so long (ms) lies between two lists that events are the reason for. */
const betweenEvents = 100;

/** Events whose way is measured, of those that wait for one comparison: an outage must not gather them without end. */
const measuredEvents = 1000;

/**
 * The tenants that are active now. The Tenant Manager's list is the truth; an event on Redis is only a reason to read it at once. So a
 * lost, late, repeated or forged event can do no harm: at worst it costs a request, and a lost one costs an interval. A tenant whose own
 * configuration is refused is not active even when a list that lags behind still names it, and one that the list lacks for no known reason is asked
 * for by itself.
 */
export class TenantDirectory extends EventEmitter<DirectoryEvents> {
  readonly #active = new Set<TenantId>();
  readonly #refused = new Map<TenantId, string>();
  /** Their configuration was refused, and the list was not read since. */
  readonly #doubted = new Map<TenantId, string>();
  readonly #missing: MissingTenants;
  readonly #source: TenantSource;
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #metrics: Metrics | undefined;
  readonly #stopped = new AbortController();
  #stopListening: (() => void) | undefined;
  #emptySince: number | undefined;
  /** Active tenants that events since the last list have called suspended or gone. */
  #saidGone = new Set<TenantId>();
  /** When what those events tell of has happened. */
  #happened: number[] = [];
  #comparing: Promise<void> | undefined;
  #again = false;
  #comparedAt: number | undefined;
  /** When the list was last asked for (monotonic, ms). */
  #askedAt = Number.NEGATIVE_INFINITY;
  #soon: NodeJS.Timeout | undefined;
  #loop: Promise<void> | undefined;

  constructor(source: TenantSource, settings: Settings, log: Logger, metrics?: Metrics) {
    super();
    this.#source = source;
    this.#settings = settings;
    this.#log = log;
    this.#metrics = metrics;
    this.#missing = new MissingTenants({
      ask: (tenantId) => source.refresh(tenantId),
      gone: (tenantId) => this.#remove(tenantId),
      patienceMs: missingIntervalsToBelieve * settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000,
      signal: this.#stopped.signal,
      log,
    });
  }

  get active(): ReadonlySet<TenantId> {
    return this.#active;
  }

  /** Tenants that the list names and that are not served because of their configuration, each with the code of its refusal. */
  get refused(): ReadonlyMap<TenantId, string> {
    return this.#refused;
  }

  /** Whether the list was read at least once, so that what is active is what should be. */
  get known(): boolean {
    return this.#comparedAt !== undefined;
  }

  /** When the list was last read and compared (ms since 1970). */
  get comparedAt(): number | undefined {
    return this.#comparedAt;
  }

  /** Reads the list now and from then on keeps comparing. Returns at once; a Tenant Manager that is away is asked again. */
  start(): void {
    if (this.#settings.MULTI_TENANT_ENABLED && this.#settings.MULTI_TENANT_REDIS_HOST) {
      const reactions = {
        event: (news: LifecycleNews) => this.#heard(news),
        subscribed: () => void this.compare(),
      };
      this.#stopListening = listenForLifecycle(this.#settings, this.#log, reactions, this.#metrics);
    }
    this.#loop = this.#keepComparing();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#stopListening?.();
    clearTimeout(this.#soon);
    await this.#loop;
    await this.#comparing;
  }

  /** Compares with the list; calls during a comparison share one more after it, so that none of them is answered too early. */
  compare(): Promise<void> {
    if (this.#comparing) {
      this.#again = true;
      return this.#comparing;
    }
    this.#comparing = (async () => {
      do {
        this.#again = false;
        await this.#compareOnce();
      } while (this.#again && !this.#stopped.signal.aborted);
      // In the same turn as the last look at who asked again: whoever comes now begins a comparison of its own.
      this.#comparing = undefined;
      this.emit('compared');
    })();
    return this.#comparing;
  }

  /**
   * A tenant's configuration is refused: it is not active as soon as the list can be read. A Tenant Manager that can't even say whom it has is not
   * believed about one of them.
   *
   * @param code of the refusal.
   */
  refuse(tenantId: TenantId, code: string): void {
    if (this.#stopped.signal.aborted) return;
    if (this.#refused.has(tenantId)) {
      this.#refused.set(tenantId, code);
      return;
    }
    this.#doubted.set(tenantId, code);
    void this.compare();
  }

  /** The configuration of a tenant answers again: it is active when the list says so. */
  readmit(tenantId: TenantId): void {
    this.#doubted.delete(tenantId);
    if (this.#refused.delete(tenantId)) void this.compare();
  }

  #heard({ effect, tenantId, at }: LifecycleNews): void {
    this.#source.forget(tenantId);
    const active = this.#active.has(tenantId);
    // Nothing is kept of tenants that nobody here knows: anything at all can be published. One that is served already may have been provisioned anew.
    if (effect !== 'disappear' && (active || (effect === 'change' && this.#refused.has(tenantId)))) {
      this.emit('changed', tenantId);
    }
    if (effect === 'change') return;
    if (effect === 'disappear') {
      if (active) this.#saidGone.add(tenantId);
    }
    // It gets its chance at once; if it is refused again, it was not served in between.
    else {
      this.#refused.delete(tenantId);
      this.#doubted.delete(tenantId);
    }
    if (at !== undefined && this.#happened.length < measuredEvents) this.#happened.push(at);
    this.#compareSoon();
  }

  /** At once, unless the list was asked for a moment ago: a burst of events is no burst of requests. */
  #compareSoon(): void {
    if (this.#soon || this.#stopped.signal.aborted) return;
    const pause = this.#askedAt + betweenEvents - performance.now();
    if (pause <= 0) {
      void this.compare();
      return;
    }
    this.#soon = setTimeout(() => {
      this.#soon = undefined;
      void this.compare();
    }, pause);
  }

  async #keepComparing(): Promise<void> {
    const interval = this.#settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000;
    while (!this.#stopped.signal.aborted) {
      await this.compare();
      // Until the first list is there nothing works, so it is asked for more often. The spread keeps a fleet from asking in step.
      const pause = (this.known ? interval : Math.min(interval, 1000)) * (0.8 + Math.random() * 0.4);
      await delay(pause, undefined, { signal: this.#stopped.signal }).catch(() => {});
    }
  }

  async #compareOnce(): Promise<void> {
    // What is heard from here on is not yet in the list that is read now.
    const saidGone = this.#saidGone;
    const happened = this.#happened;
    this.#saidGone = new Set();
    this.#happened = [];
    this.#askedAt = performance.now();
    let listed: Set<TenantId>;
    try {
      listed = new Set(await this.#source.listActive(this.#stopped.signal));
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      // Whoever runs goes on with what is known, and what was heard is still to be answered.
      for (const tenantId of saidGone) this.#saidGone.add(tenantId);
      this.#happened = happened.concat(this.#happened).slice(0, measuredEvents);
      this.#log.warn(
        { code: errorCode(error), reason: errorMessage(error) },
        'the list of active tenants cannot be read',
      );
      return;
    }
    if (this.#stopped.signal.aborted) return;
    this.#comparedAt = Date.now();
    this.#refuseDoubted();
    this.#apply(this.#believable(listed, saidGone), saidGone);
    this.#metrics?.tenantsKnown.set(this.#active.size);
    this.#metrics?.listComparedAt.setToCurrentTime();
    // The two clocks need not agree to the millisecond.
    for (const at of happened) this.#metrics?.discoveryLag.observe(Math.max(0, Date.now() - at) / 1000);
  }

  #refuseDoubted(): void {
    for (const [tenantId, code] of this.#doubted) {
      this.#log.warn({ tenantId, code }, 'the tenant’s configuration is refused: it is not served');
      this.#refused.set(tenantId, code);
      this.#remove(tenantId);
    }
    this.#doubted.clear();
  }

  #apply(listed: ReadonlySet<TenantId>, saidGone: ReadonlySet<TenantId>): void {
    for (const tenantId of this.#refused.keys()) if (!listed.has(tenantId)) this.#refused.delete(tenantId);
    const missing = new Set<TenantId>();
    for (const tenantId of this.#active) {
      if (listed.has(tenantId)) continue;
      // Two who know say so; an empty list that is believed has been looked at for long enough.
      if (saidGone.has(tenantId) || listed.size === 0) this.#remove(tenantId);
      else missing.add(tenantId);
    }
    this.#missing.look(missing);
    for (const tenantId of listed) {
      if (this.#active.has(tenantId) || this.#refused.has(tenantId)) continue;
      this.#active.add(tenantId);
      this.emit('added', tenantId);
    }
  }

  #remove(tenantId: TenantId): void {
    if (!this.#active.delete(tenantId)) return;
    this.#source.forget(tenantId);
    this.#metrics?.tenantsKnown.set(this.#active.size);
    this.emit('removed', tenantId);
  }

  /**
   * What of a list can be taken at its word. A half-started Tenant Manager, or one asked by a wrong name, has no tenants: not for a moment
   * is that a reason to close everything, be it one tenant or a thousand. Where an event has said of a tenant that it is gone, two who know
   * say so.
   */
  #believable(listed: ReadonlySet<TenantId>, saidGone: ReadonlySet<TenantId>): ReadonlySet<TenantId> {
    const left = new Set(listed.size > 0 ? [] : [...this.#active].filter((tenantId) => !saidGone.has(tenantId)));
    if (left.size === 0) {
      this.#emptySince = undefined;
      return listed;
    }
    this.#emptySince ??= performance.now();
    const patience = emptyIntervalsToBelieve * this.#settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000;
    if (performance.now() - this.#emptySince >= patience) return listed;
    this.#log.warn({ running: left.size }, 'the list of active tenants is empty where it was full; looking again');
    return left;
  }
}
