import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { listenForLifecycle } from './lifecycle-listener.ts';
import type { TenantId } from './tenant-id.ts';
import type { TenantSource } from './tenant-source.ts';

interface DirectoryEvents {
  added: [TenantId];
  removed: [TenantId];
  /** A comparison with the list has ended, whatever it found. */
  compared: [];
}

/** For how many intervals every list must be empty before a full fleet believes that all its tenants are gone. */
const emptyIntervalsToBelieve = 2;

/**
 * The tenants that are active now. The Tenant Manager's list is the truth; an event on Redis is only a reason to read it at once. So a
 * lost, late, repeated or forged event can do no harm: at worst it costs a request, and a lost one costs an interval.
 */
export class TenantDirectory extends EventEmitter<DirectoryEvents> {
  readonly #active = new Set<TenantId>();
  readonly #source: TenantSource;
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  #stopListening: (() => Promise<void>) | undefined;
  #emptySince: number | undefined;
  #comparing: Promise<void> | undefined;
  #again = false;
  #known = false;
  #loop: Promise<void> | undefined;

  constructor(source: TenantSource, settings: Settings, log: Logger) {
    super();
    this.#source = source;
    this.#settings = settings;
    this.#log = log;
  }

  get active(): ReadonlySet<TenantId> {
    return this.#active;
  }

  /** Whether the list was read at least once, so that what is active is what should be. */
  get known(): boolean {
    return this.#known;
  }

  /** Reads the list now and from then on keeps comparing. Returns at once; a Tenant Manager that is away is asked again. */
  start(): void {
    if (this.#settings.MULTI_TENANT_ENABLED && this.#settings.MULTI_TENANT_REDIS_HOST) {
      this.#stopListening = listenForLifecycle(this.#settings, this.#log, {
        changed: (tenantId) => {
          if (tenantId) this.#source.forget(tenantId);
          void this.compare();
        },
      });
    }
    this.#loop = this.#keepComparing();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#stopListening?.();
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
    })().finally(() => {
      this.#comparing = undefined;
      this.emit('compared');
    });
    return this.#comparing;
  }

  async #keepComparing(): Promise<void> {
    const interval = this.#settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000;
    while (!this.#stopped.signal.aborted) {
      await this.compare();
      // Until the first list is there nothing works, so it is asked for more often. The spread keeps a fleet from asking in step.
      const pause = (this.#known ? interval : Math.min(interval, 1000)) * (0.8 + Math.random() * 0.4);
      await delay(pause, undefined, { signal: this.#stopped.signal }).catch(() => {});
    }
  }

  async #compareOnce(): Promise<void> {
    let listed: Set<TenantId>;
    try {
      listed = new Set(await this.#source.listActive(this.#stopped.signal));
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      // Whoever runs goes on with what is known.
      this.#log.warn(
        { code: errorCode(error), reason: errorMessage(error) },
        'the list of active tenants cannot be read',
      );
      return;
    }
    if (this.#stopped.signal.aborted) return;
    this.#known = true;
    if (this.#isSuspicious(listed)) {
      this.#log.warn(
        { running: this.#active.size },
        'the list of active tenants is empty where it was full; looking again',
      );
      return;
    }
    for (const tenantId of this.#active) {
      if (listed.has(tenantId)) continue;
      this.#active.delete(tenantId);
      this.#source.forget(tenantId);
      this.emit('removed', tenantId);
    }
    for (const tenantId of listed) {
      if (this.#active.has(tenantId)) continue;
      this.#active.add(tenantId);
      this.emit('added', tenantId);
    }
  }

  /** A half-started Tenant Manager, or one asked by a wrong name, has no tenants: not for a moment is that a reason to close everything. */
  #isSuspicious(listed: ReadonlySet<TenantId>): boolean {
    if (listed.size > 0 || this.#active.size < 2) {
      this.#emptySince = undefined;
      return false;
    }
    this.#emptySince ??= performance.now();
    const patience = emptyIntervalsToBelieve * this.#settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000;
    return performance.now() - this.#emptySince < patience;
  }
}
