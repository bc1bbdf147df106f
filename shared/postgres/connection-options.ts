import type { ClientConfig } from 'pg';
import type { Settings } from '../config/variables.ts';
import { pemOf } from '../tenancy/certificates.ts';
import type { ConnectionLimits, PostgresTarget } from '../tenancy/tenant-config.ts';

type Limits = Pick<ConnectionLimits, 'statementTimeoutMs'>;
type Timeouts = Pick<Settings, 'POSTGRES_CONNECT_TIMEOUT_SEC' | 'POSTGRES_QUERY_TIMEOUT_SEC'>;

/**
 * The server looks whether its client is still there: one whose host or network went away would hold the locks of its transaction for as long as the
 * system's own setting lets it, two hours, and its jobs would wait for them in vain.
 */
const serverKeepAlive = ['idle=30', 'interval=10', 'count=3'].map((setting) => `-c tcp_keepalives_${setting}`);

/**
 * Short statements are the same few over and over, by primary key: one plan does for all of their values, and planning each anew costs more than
 * running it. Bulk work, whose best plan depends on the values, sets it back.
 */
const onePlan = '-c plan_cache_mode=force_generic_plan';

/**
 * How long (ms) a statement of bulk work waits for a lock that somebody else holds. A table of one tenant that is locked for long must not hold one of the
 * process's job slots for as long.
 */
export const bulkLockTimeout = 10_000;

/**
 * How the driver connects to a tenant's database.
 *
 * @throws MatcherError `CERTIFICATE_UNREADABLE`
 */
export function connectionOptions(
  target: PostgresTarget,
  settings: Timeouts,
  application: string,
  limits: Limits = {},
): ClientConfig {
  const statementTimeout = statementTimeoutOf(limits, settings);
  return {
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    password: target.password,
    ssl: sslOptions(target),
    application_name: application,
    connectionTimeoutMillis: settings.POSTGRES_CONNECT_TIMEOUT_SEC * 1000,
    keepAlive: true,
    // The system’s own delay is two hours.
    keepAliveInitialDelayMillis: 30_000,
    // As startup parameters they are the session's defaults, to which RESET and DISCARD return. The driver's own option for the timeout takes no 0.
    options: [
      `-c statement_timeout=${statementTimeout}`,
      `-c lock_timeout=${lockTimeoutOf(statementTimeout)}`,
      onePlan,
      ...serverKeepAlive,
      ...(target.schema ? [`-c search_path=${escapeOption(quoteIdentifier(target.schema))}`] : []),
    ].join(' '),
  };
}

/** Milliseconds that a statement may take which is no bulk work; 0 is without end. */
export function statementTimeoutOf(limits: Limits, settings: Timeouts): number {
  return limits.statementTimeoutMs ?? settings.POSTGRES_QUERY_TIMEOUT_SEC * 1000;
}

/** Ends before the statement's own time does: that a lock was not to be had is no failure of the job. */
function lockTimeoutOf(statementTimeout: number): number {
  return statementTimeout === 0 ? bulkLockTimeout : Math.min(bulkLockTimeout, Math.ceil(statementTimeout / 2));
}

/** The modes as libpq means them, where `require` with an authority's certificate is `verify-ca` (its manual, "SSL Support"). */
function sslOptions(target: PostgresTarget): ClientConfig['ssl'] {
  const { sslmode, sslrootcert, sslcert, sslkey } = target;
  if (sslmode === 'disable') return false;
  const verify = sslmode !== 'require' || sslrootcert !== undefined;
  return {
    rejectUnauthorized: verify,
    ...(verify && sslmode !== 'verify-full' ? { checkServerIdentity: () => undefined } : {}),
    ...(sslrootcert === undefined ? {} : { ca: pemOf('sslrootcert', sslrootcert) }),
    ...(sslcert === undefined ? {} : { cert: pemOf('sslcert', sslcert) }),
    ...(sslkey === undefined ? {} : { key: pemOf('sslkey', sslkey) }),
  };
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Startup options are split at blanks; a backslash keeps one in its place. */
function escapeOption(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll(/\s/g, '\\$&');
}
