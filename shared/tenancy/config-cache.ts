import { LRUCache } from 'lru-cache';
import { errorCode } from '../errors.ts';
import type { TenantConfig } from './tenant-config.ts';
import type { TenantId } from './tenant-id.ts';

/** Configurations kept at most; the least recently used one goes. */
const maxKept = 10_000;

/**
 * The tenants' configurations as they were when last asked for. One request per tenant at a time, however many ask; whoever waits for
 * one that fails shares its failure. What has expired is still good while the Tenant Manager is away.
 */
export class ConfigCache {
  readonly #known = new LRUCache<TenantId, { config: TenantConfig; freshUntil: number }>({ max: maxKept });
  readonly #asked = new Map<TenantId, Promise<TenantConfig>>();
  readonly #ask: (tenantId: TenantId) => Promise<TenantConfig>;
  readonly #ttlMs: number;

  constructor(ask: (tenantId: TenantId) => Promise<TenantConfig>, ttlMs: number) {
    this.#ask = ask;
    this.#ttlMs = ttlMs;
  }

  async get(tenantId: TenantId): Promise<TenantConfig> {
    const known = this.#known.get(tenantId);
    if (known && performance.now() < known.freshUntil) return known.config;
    try {
      return await (this.#asked.get(tenantId) ?? this.#askNow(tenantId));
    } catch (error) {
      if (known && errorCode(error) === 'TENANT_MANAGER_UNAVAILABLE') return known.config;
      this.#known.delete(tenantId);
      throw error;
    }
  }

  /** What is true now, asked of the source. */
  refresh(tenantId: TenantId): Promise<TenantConfig> {
    return this.#asked.get(tenantId) ?? this.#askNow(tenantId);
  }

  /** The next one who asks gets what is true from now on. */
  forget(tenantId: TenantId): void {
    const known = this.#known.get(tenantId);
    if (known) known.freshUntil = 0;
    this.#asked.delete(tenantId);
  }

  #askNow(tenantId: TenantId): Promise<TenantConfig> {
    const asked = this.#ask(tenantId)
      .then((config) => {
        // Not what was asked before something changed.
        if (this.#asked.get(tenantId) === asked) {
          this.#known.set(tenantId, { config, freshUntil: performance.now() + this.#ttlMs });
        }
        return config;
      })
      .finally(() => {
        if (this.#asked.get(tenantId) === asked) this.#asked.delete(tenantId);
      });
    this.#asked.set(tenantId, asked);
    return asked;
  }
}
