import type { Settings } from '../config/variables.ts';
import type { BreakerState } from './manager-breaker.ts';
import { createTenantManagerClient, type ManagerClientParts } from './manager-client.ts';
import { singleTenantConfig, type TenantConfig } from './tenant-config.ts';
import type { TenantId } from './tenant-id.ts';

/** Says which tenants there are and where each one's data is. */
export interface TenantSource {
  /** The circuit breaker of the Tenant Manager; absent where there is none. */
  readonly breaker?: BreakerState;
  /**
   * The tenants whose work is to be done now.
   *
   * @throws MatcherError `TENANT_MANAGER_UNAVAILABLE`, `TENANT_MANAGER_REFUSED`; the signal's reason.
   */
  listActive(signal?: AbortSignal): Promise<TenantId[]>;
  /**
   * Where the tenant's database and vhost are; may answer from a cache. A tenant that is known goes on being known while the Tenant Manager
   * can't say anything about it.
   *
   * @throws MatcherError `TENANT_NOT_FOUND`, `TENANT_SUSPENDED`, `SERVICE_NOT_CONFIGURED`, `VHOST_OF_ANOTHER_TENANT`, which may be some seconds old unless the
   *   tenant was forgotten or refreshed; `TENANT_MANAGER_UNAVAILABLE`, `TENANT_MANAGER_REFUSED` when nothing is known.
   */
  config(tenantId: TenantId): Promise<TenantConfig>;
  /**
   * Asks anew, whatever is cached; whoever asks meanwhile shares the one request. Its answer is what `config` says from then on.
   *
   * @throws MatcherError as `config` does; `TENANT_MANAGER_UNAVAILABLE` even when something is known, so that nothing is taken for fresh that isn't.
   */
  refresh(tenantId: TenantId): Promise<TenantConfig>;
  /** Forgets what is cached of a tenant, because something said that it changed. Only while nobody can say what is true it is used again. */
  forget(tenantId: TenantId): void;
}

/** The Tenant Manager in multi-tenant mode, the plain settings otherwise. */
export function createTenantSource(settings: Settings, parts?: ManagerClientParts): TenantSource {
  if (settings.MULTI_TENANT_ENABLED) return createTenantManagerClient(settings, parts);
  const only = singleTenantConfig(settings);
  return {
    listActive: async () => [only.tenantId],
    config: async () => only,
    refresh: async () => only,
    forget: () => {},
  };
}
