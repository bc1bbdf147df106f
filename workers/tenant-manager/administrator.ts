import type { Settings } from '@matcher/shared/config/variables.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import type { ClientConfig } from 'pg';

/** How the Tenant Manager connects, as the role that may create databases and roles, to its own database or to another one. */
export function administratorOptions(settings: Settings, database = settings.POSTGRES_DB ?? ''): ClientConfig {
  const target = {
    host: settings.POSTGRES_HOST ?? '',
    port: settings.POSTGRES_PORT,
    database,
    user: settings.POSTGRES_USER ?? '',
    password: settings.POSTGRES_PASSWORD ?? '',
    sslmode: settings.POSTGRES_SSLMODE,
  };
  // Dropping a tenant's schema takes as long as it takes.
  return connectionOptions(target, settings, 'matcher-tenant-manager', { statementTimeoutMs: 0 });
}
