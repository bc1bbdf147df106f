import type { Settings } from '../config/variables.ts';

/** What a worker was started as and with which limits, for its log: enough to size servers by, and no secret. */
export function startupReport(settings: Settings): Record<string, unknown> {
  const multi = settings.MULTI_TENANT_ENABLED;
  const pools = multi ? settings.MULTI_TENANT_MAX_TENANT_POOLS : 1;
  const connectionsPerPool = settings.POSTGRES_MAX_OPEN_CONNS;
  const limits = {
    slots: settings.JOB_SLOTS,
    pools,
    connectionsPerPool,
    // What this process may open on one database server, if all its tenants are there and the Tenant Manager sets no limits of its own.
    connectionsAtMost: pools * connectionsPerPool,
    idleTimeoutSec: settings.MULTI_TENANT_IDLE_TIMEOUT_SEC,
    checkIntervalSec: settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC,
  };
  if (!multi) return { mode: 'single-tenant', ...limits };
  return {
    mode: 'multi-tenant',
    environment: settings.MULTI_TENANT_ENVIRONMENT ?? null,
    tenantManager: new URL(settings.MULTI_TENANT_URL ?? '').host,
    events: settings.MULTI_TENANT_REDIS_HOST !== undefined,
    ...limits,
    cacheTtlSec: settings.MULTI_TENANT_CACHE_TTL_SEC,
    breaker: {
      threshold: settings.MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD,
      timeoutSec: settings.MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC,
    },
  };
}

/** What works, and not as well as it could. */
export function startupWarnings(settings: Settings): string[] {
  if (!settings.MULTI_TENANT_ENABLED || settings.MULTI_TENANT_REDIS_HOST !== undefined) return [];
  const interval = settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC;
  return [
    `MULTI_TENANT_REDIS_HOST is not set: tenants are discovered by the list only, so that a change takes up to ${Math.ceil(interval * 1.2)} seconds`,
  ];
}
