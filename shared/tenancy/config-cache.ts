import { setTimeout as delay } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Metrics } from '../observability/metrics.ts';
import { isAboutTenant } from './manager-refusals.ts';
import type { TenantConfig } from './tenant-config.ts';
import type { TenantId } from './tenant-id.ts';

/** Configurations kept at most, and refusals; the least recently used one goes. */
const maxKept = 10_000;
const maxRefusals = 1000;

/** How long (ms) an answer such as "there is no such tenant" is good for everybody who asks. */
const refusalMs = 5000;

/** How long (ms) nobody asks again after a request has failed for a tenant that something is known of. */
const retryMs = 5000;

/** How long (ms) whoever has something that has only expired waits for something newer. */
const defaultPatienceMs = 1000;

export interface ConfigCacheOptions {
  ttlMs: number;
  metrics?: Metrics | undefined;
  /** Milliseconds, never going back. */
  now?: () => number;
  patienceMs?: number;
}

interface Known {
  config: TenantConfig;
  freshUntil: number;
  /** Something said that it is not true any more. */
  changed: boolean;
  askAgainAt: number;
}

interface Request {
  readonly answer: Promise<TenantConfig>;
  /** Began as a refresh. */
  readonly refreshing: boolean;
  /** Took longer than anybody's patience. */
  late: boolean;
}

/**
 * The tenants' configurations as they were when last asked for. One request per tenant at a time, however many ask; whoever waits for
 * one that fails shares its failure.
 *
 * What has expired is still good while the Tenant Manager gives no answer about the tenant, however long that takes: running tenants go on.
 * Nor do their jobs pay for a Tenant Manager that hangs. Whoever has something expired waits a second for something newer, and the request
 * goes on without him; while it hangs, and for some seconds after it has failed, the others don't wait or ask at all. Only what an event
 * called changed is waited for, once, for as long as the request takes: using it would be a mistake more often than not. None of this looks
 * at the circuit breaker: it makes requests fail fast, and so helps here without being known.
 *
 * An answer that the tenant can't be served drops what is known, and is itself remembered for some seconds, suspended tenants' and
 * unconfigured ones' like unknown ones': messages and requests for such tenants keep coming, and would be one request each. Answers that are
 * about something else (a wrong API key, too many requests, a provisioning that is under way) are neither believed nor remembered.
 */
export class ConfigCache {
  readonly #known = new LRUCache<TenantId, Known>({ max: maxKept });
  readonly #refusals = new LRUCache<TenantId, { error: Error; until: number }>({ max: maxRefusals });
  /** Under way; nothing stays in it. */
  readonly #requests = new Map<TenantId, Request>();
  readonly #ask: (tenantId: TenantId) => Promise<TenantConfig>;
  readonly #ttlMs: number;
  readonly #metrics: Metrics | undefined;
  readonly #now: () => number;
  readonly #patienceMs: number;

  constructor(ask: (tenantId: TenantId) => Promise<TenantConfig>, options: ConfigCacheOptions) {
    this.#ask = ask;
    this.#ttlMs = options.ttlMs;
    this.#metrics = options.metrics;
    this.#now = options.now ?? (() => performance.now());
    this.#patienceMs = options.patienceMs ?? defaultPatienceMs;
  }

  async get(tenantId: TenantId): Promise<TenantConfig> {
    const now = this.#now();
    const refusal = this.#refusals.get(tenantId);
    if (refusal && now < refusal.until) {
      this.#count('negative');
      throw refusal.error;
    }
    const known = this.#known.get(tenantId);
    if (known && now < known.freshUntil) {
      this.#count('hit');
      return known.config;
    }
    const current = this.#requests.get(tenantId);
    if (known && !known.changed && (current?.late || now < known.askAgainAt)) {
      this.#count('stale');
      return known.config;
    }
    const request = current ?? this.#request(tenantId, false);
    try {
      const config = known && !known.changed ? await this.#inTime(request) : await request.answer;
      if (config) {
        this.#count('miss');
        return config;
      }
    } catch (error) {
      if (isAboutTenant(error) || !this.#known.has(tenantId)) {
        this.#count('miss');
        throw error;
      }
    }
    this.#count('stale');
    return (this.#known.get(tenantId) ?? (known as Known)).config;
  }

  /**
   * What is true now, asked of the source; refreshes share one request. A lookup's request that is under way may have been answered before
   * whatever made this one necessary, and is not waited for.
   */
  refresh(tenantId: TenantId): Promise<TenantConfig> {
    const current = this.#requests.get(tenantId);
    if (current?.refreshing) return current.answer;
    this.#refusals.delete(tenantId);
    return this.#request(tenantId, true).answer;
  }

  /** The next one who asks gets what is true from now on. */
  forget(tenantId: TenantId): void {
    this.#refusals.delete(tenantId);
    this.#requests.delete(tenantId);
    const known = this.#known.get(tenantId);
    if (known) Object.assign(known, { freshUntil: 0, changed: true, askAgainAt: 0 });
  }

  #request(tenantId: TenantId, refreshing: boolean): Request {
    // One that was overtaken has nothing to say any more to anybody but those who wait for it.
    const end = (apply: () => void) => {
      if (this.#requests.get(tenantId) !== request) return;
      this.#requests.delete(tenantId);
      apply();
    };
    const answer = this.#ask(tenantId).then(
      (config) => {
        end(() => {
          const freshUntil = this.#now() + this.#ttlMs;
          this.#known.set(tenantId, { config, freshUntil, changed: false, askAgainAt: 0 });
          this.#refusals.delete(tenantId);
        });
        return config;
      },
      (error) => {
        end(() => this.#failed(tenantId, error));
        throw error;
      },
    );
    const request = { answer, refreshing, late: false };
    this.#requests.set(tenantId, request);
    return request;
  }

  #failed(tenantId: TenantId, error: unknown): void {
    if (isAboutTenant(error)) {
      this.#known.delete(tenantId);
      this.#refusals.set(tenantId, { error, until: this.#now() + refusalMs });
      return;
    }
    const known = this.#known.get(tenantId);
    if (known) Object.assign(known, { changed: false, askAgainAt: this.#now() + retryMs });
  }

  /** The request's answer, or `undefined` when that takes too long. */
  async #inTime(request: Request): Promise<TenantConfig | undefined> {
    const answered = new AbortController();
    const patience = delay(this.#patienceMs, undefined, { signal: answered.signal }).then(
      () => {
        request.late = true;
        return undefined;
      },
      () => undefined,
    );
    try {
      return await Promise.race([request.answer, patience]);
    } finally {
      answered.abort();
    }
  }

  #count(result: 'hit' | 'miss' | 'stale' | 'negative'): void {
    this.#metrics?.configLookups.inc({ result });
  }
}
