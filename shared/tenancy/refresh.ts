import { isDeepStrictEqual } from 'node:util';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { Slots } from '../slots.ts';
import type { TenantDirectory } from './directory.ts';
import { forbidsServing, isAboutTenant } from './manager-refusals.ts';
import { visitSpread } from './spread.ts';
import type { TenantConfig } from './tenant-config.ts';
import type { TenantId } from './tenant-id.ts';
import type { TenantSource } from './tenant-source.ts';

/** What is open for tenants and has to follow their configuration. */
export interface Configured {
  tenants(): Iterable<TenantId>;
  /** Takes the present configuration over. Returns at once. */
  refresh(config: TenantConfig): void;
}

export interface RefreshParts {
  source: TenantSource;
  directory: TenantDirectory;
  /** Pools and connections. */
  open: readonly Configured[];
  settings: Settings;
  log: Logger;
  metrics?: Metrics;
}

/** Requests at once. */
const atOnce = 8;

/** A fleet that hears of the same change spreads its questions over this time (ms). */
const longestDelay = 5000;

/** The first pause (ms) between two questions because of refused credentials; it doubles up to an interval. */
const firstPause = 1000;

interface Planned {
  timer: NodeJS.Timeout;
  at: number;
}

/**
 * Keeps open pools and connections in step with their tenants' configuration: each is asked for again once per interval, soon after an
 * event, and at once when credentials were refused. A Tenant Manager that is away changes nothing.
 */
export class TenantRefresher {
  readonly #parts: RefreshParts;
  readonly #intervalMs: number;
  readonly #slots = new Slots(atOnce);
  readonly #stopped = new AbortController();
  /** Waits for its turn to be asked; asking twice would say nothing more. */
  readonly #queued = new Set<TenantId>();
  readonly #planned = new Map<TenantId, Planned>();
  /** When credentials were last refused, and how long the next question for them waits. */
  readonly #refusals = new Map<TenantId, { at: number; pause: number }>();
  /** What was last answered, of tenants that have something open. */
  readonly #answers = new Map<TenantId, TenantConfig>();
  #stopVisits: (() => void) | undefined;

  constructor(parts: RefreshParts) {
    this.#parts = parts;
    this.#intervalMs = parts.settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000;
    parts.directory.on('changed', (tenantId) => this.#plan(tenantId, Math.random() * longestDelay));
    parts.directory.on('removed', (tenantId) => {
      this.#answers.delete(tenantId);
      this.#refusals.delete(tenantId);
    });
  }

  start(): void {
    this.#stopVisits = visitSpread(
      this.#intervalMs,
      () => {
        const concerned = new Set(this.#concerned());
        // Whoever was left to other processes has nothing open here any more, and was not removed.
        for (const tenantId of this.#answers.keys()) if (!concerned.has(tenantId)) this.#answers.delete(tenantId);
        return concerned;
      },
      (tenantId) => this.#ask(tenantId),
    );
  }

  /** Nothing is refreshed any more; answers that are still to come are dropped. */
  stop(): void {
    this.#stopVisits?.();
    this.#stopped.abort();
    for (const { timer } of this.#planned.values()) clearTimeout(timer);
    this.#planned.clear();
  }

  /**
   * A database or broker refused a tenant's credentials: the configuration is asked for at once, since a rotation should cost a retry and not
   * an interval. For credentials that stay wrong, growing pauses lie between two questions.
   */
  credentialsRefused(tenantId: TenantId): void {
    const now = performance.now();
    const last = this.#refusals.get(tenantId);
    if (last && now < last.at + last.pause) return;
    const persists = last !== undefined && now < last.at + last.pause + 2 * this.#intervalMs;
    const pause = persists ? Math.min(2 * last.pause, Math.max(this.#intervalMs, firstPause)) : firstPause;
    this.#refusals.set(tenantId, { at: now, pause });
    this.#parts.source.forget(tenantId);
    this.#plan(tenantId, 0);
  }

  /** Asks after a pause; of several plans for a tenant, the soonest counts. */
  #plan(tenantId: TenantId, pause: number): void {
    if (this.#stopped.signal.aborted) return;
    const at = performance.now() + pause;
    const planned = this.#planned.get(tenantId);
    if (planned && planned.at <= at) return;
    clearTimeout(planned?.timer);
    const timer = setTimeout(() => {
      this.#planned.delete(tenantId);
      if (this.#isConcerned(tenantId)) this.#ask(tenantId);
    }, pause);
    this.#planned.set(tenantId, { timer, at });
  }

  *#concerned(): Iterable<TenantId> {
    const seen = new Set<TenantId>();
    const { directory, open } = this.#parts;
    for (const tenants of [...open.map((one) => one.tenants()), directory.refused.keys()]) {
      for (const tenantId of tenants) {
        if (seen.has(tenantId)) continue;
        seen.add(tenantId);
        yield tenantId;
      }
    }
  }

  #isConcerned(tenantId: TenantId): boolean {
    for (const concerned of this.#concerned()) if (concerned === tenantId) return true;
    return false;
  }

  /** Returns at once; whatever happens to one tenant, the others go on. */
  #ask(tenantId: TenantId): void {
    if (this.#queued.has(tenantId)) return;
    this.#queued.add(tenantId);
    void this.#askInTurn(tenantId).catch((error) => {
      if (this.#stopped.signal.aborted) return;
      this.#parts.log.error({ tenantId, err: error }, 'a tenant could not be refreshed');
    });
  }

  async #askInTurn(tenantId: TenantId): Promise<void> {
    const release = await this.#slots.acquire(this.#stopped.signal);
    this.#queued.delete(tenantId);
    try {
      await this.#refresh(tenantId);
    } finally {
      release();
    }
  }

  async #refresh(tenantId: TenantId): Promise<void> {
    const { source, directory, open, log, metrics } = this.#parts;
    let config: TenantConfig;
    try {
      config = await source.refresh(tenantId);
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      const gone = forbidsServing(error);
      metrics?.refreshes.inc({ result: gone ? 'gone' : 'failed' });
      // Without an answer everybody goes on with what is known.
      if (gone) directory.refuse(tenantId, error.code);
      else if (isAboutTenant(error)) {
        log.warn({ tenantId, code: error.code, reason: error.message }, 'the tenant’s new configuration can’t be used');
      } else log.debug({ tenantId, code: errorCode(error), reason: errorMessage(error) }, 'no answer to a refresh');
      return;
    }
    if (this.#stopped.signal.aborted) return;
    const before = this.#answers.get(tenantId);
    const changed = before !== undefined && !isDeepStrictEqual(before, config);
    metrics?.refreshes.inc({ result: changed ? 'changed' : 'unchanged' });
    if (changed) log.info({ tenantId }, 'the tenant’s configuration has changed');
    directory.readmit(tenantId);
    // A tenant that was removed meanwhile has nothing open that could follow.
    if (directory.active.has(tenantId)) this.#answers.set(tenantId, config);
    for (const one of open) one.refresh(config);
  }
}
