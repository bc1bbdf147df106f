import type { Settings } from '../config/variables.ts';
import { createTenantManagerClient } from './manager-client.ts';
import { singleTenantConfig, type TenantConfig } from './tenant-config.ts';
import type { TenantId } from './tenant-id.ts';

/** Says which tenants there are and where each one's data is. */
export interface TenantSource {
  /** The tenants whose work is to be done now. */
  listActive(signal?: AbortSignal): Promise<TenantId[]>;
  /**
   * Where the tenant's database and vhost are; may answer from a cache.
   *
   * @throws MatcherError `TENANT_NOT_FOUND`, `TENANT_SUSPENDED`, `TENANT_MANAGER_UNAVAILABLE`, `SERVICE_NOT_CONFIGURED`.
   */
  config(tenantId: TenantId): Promise<TenantConfig>;
  /**
   * Asks anew, whatever is cached; whoever asks meanwhile shares the one request. Its answer is what `config` says from then on.
   *
   * @throws MatcherError as `config` does; `TENANT_MANAGER_UNAVAILABLE` even when something is known, so that nothing is taken for fresh that isn't.
   */
  refresh(tenantId: TenantId): Promise<TenantConfig>;
  /** Forgets what is cached of a tenant, because something said that it changed. */
  forget(tenantId: TenantId): void;
}

/** The Tenant Manager in multi-tenant mode, the plain settings otherwise. */
export function createTenantSource(settings: Settings): TenantSource {
  if (settings.MULTI_TENANT_ENABLED) return createTenantManagerClient(settings);
  const only = singleTenantConfig(settings);
  return {
    listActive: async () => [only.tenantId],
    config: async () => only,
    refresh: async () => only,
    forget: () => {},
  };
}
