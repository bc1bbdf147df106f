import type { ClientConfig } from 'pg';
import type { Settings } from '../config/variables.ts';
import type { PostgresTarget } from '../tenancy/tenant-config.ts';

/** How the driver connects to a tenant's database. */
export function connectionOptions(target: PostgresTarget, settings: Settings, application: string): ClientConfig {
  return {
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    password: target.password,
    ssl: sslOptions(target.sslmode),
    application_name: application,
    connectionTimeoutMillis: settings.POSTGRES_CONNECT_TIMEOUT_SEC * 1000,
    statement_timeout: settings.POSTGRES_QUERY_TIMEOUT_SEC * 1000,
    keepAlive: true,
    // As a startup parameter the path is the session's default, to which RESET and DISCARD return.
    ...(target.schema ? { options: `-c search_path=${escapeOption(quoteIdentifier(target.schema))}` } : {}),
  };
}

function sslOptions(sslmode: string): ClientConfig['ssl'] {
  switch (sslmode) {
    case 'disable':
      return false;
    case 'verify-ca':
      return { rejectUnauthorized: true, checkServerIdentity: () => undefined };
    case 'verify-full':
      return { rejectUnauthorized: true };
    default:
      // libpq's `require`: encrypted, without asking who answers.
      return { rejectUnauthorized: false };
  }
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Startup options are split at blanks; a backslash keeps one in its place. */
function escapeOption(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll(' ', '\\ ');
}
