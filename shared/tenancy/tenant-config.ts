import type { z } from 'zod';
import { type Settings, sslModes } from '../config/variables.ts';
import { errorMessage, MatcherError } from '../errors.ts';
import { readStatementTimeout } from './statement-timeout.ts';
import { canonicalTenantId, type TenantId, tryCanonicalTenantId } from './tenant-id.ts';
import { type ConnectionsAnswer, type DatabaseModule, databaseModule, rabbitmqModule, service } from './wire.ts';

/** Where one tenant's data and messages are, and with which limits. Holds passwords: never logged. */
export interface TenantConfig {
  readonly tenantId: TenantId;
  readonly slug: string;
  readonly postgres: PostgresTarget;
  /** A read-only copy of the database, that may lag behind it. */
  readonly replica?: PostgresTarget;
  readonly rabbitmq: RabbitmqTarget;
  readonly limits: ConnectionLimits;
}

export interface ConnectionLimits {
  readonly maxOpenConns: number;
  readonly maxIdleConns: number;
  /** Milliseconds a statement may take that is no bulk work; 0 means without end. Absent: POSTGRES_QUERY_TIMEOUT_SEC. */
  readonly statementTimeoutMs?: number;
}

export interface PostgresTarget {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
  readonly sslmode: string;
  /** In `schema` isolation: the tenant's own schema in a shared database. */
  readonly schema?: string;
  /** Certificates, each a file's path or the PEM text itself. */
  readonly sslrootcert?: string;
  readonly sslcert?: string;
  readonly sslkey?: string;
}

export interface RabbitmqTarget {
  readonly host: string;
  readonly port: number;
  readonly vhost: string;
  readonly user: string;
  readonly password: string;
  readonly tls: boolean;
  /** The authority that signed the broker's certificate: a file's path or the PEM text itself. */
  readonly tlsCAFile?: string;
}

/**
 * Reads a Tenant Manager's answer. The module named like the service is ours, else the first in sorted order.
 *
 * @throws MatcherError `SERVICE_NOT_CONFIGURED`, not-now, that says what is missing or makes no sense.
 */
export function tenantConfigFrom(answer: ConnectionsAnswer, asked: TenantId, settings: Settings): TenantConfig {
  if (tryCanonicalTenantId(answer.id) !== asked) throw notConfigured(asked, 'the answer is about another tenant');
  const read = <S extends z.ZodType>(schema: S, module: unknown, what: string): z.output<S> | undefined => {
    if (module === undefined || module === null) return undefined;
    const { data, error } = schema.safeParse(module);
    if (!error) return data;
    // Only the places are named: what stands there may be a password.
    const places = error.issues.map(({ path }) => path.join('.')).filter((place) => place !== '');
    throw notConfigured(asked, `its ${what} has no valid ${places.join(', ') || 'shape'}`);
  };
  const database = read(databaseModule, moduleOf(answer.databases), 'database');
  const postgres = database?.postgresql;
  if (!postgres) throw notConfigured(asked, 'no PostgreSQL database is configured');
  if (answer.isolationMode === 'schema' && !postgres.schema) {
    throw notConfigured(asked, 'isolationMode is schema, and no schema is named');
  }
  const rabbitmq = read(rabbitmqModule, moduleOf(answer.rabbitmq) ?? answer.messaging?.rabbitmq, 'RabbitMQ vhost');
  if (!rabbitmq) throw notConfigured(asked, 'no RabbitMQ vhost is configured');
  if (rabbitmq.tls === false && rabbitmq.tlsCAFile) throw notConfigured(asked, 'tlsCAFile is named, and tls is false');
  const target = postgresTarget(postgres, settings);
  const problem = tlsProblem(target);
  if (problem) throw notConfigured(asked, problem);
  const replica = replicaTarget(database.postgresqlReplica, target, settings);
  return {
    tenantId: asked,
    slug: answer.tenantSlug,
    postgres: target,
    ...(replica ? { replica } : {}),
    rabbitmq: {
      host: rabbitmq.host,
      port: rabbitmq.port,
      vhost: rabbitmq.vhost,
      user: rabbitmq.username,
      password: rabbitmq.password,
      // Whoever names an authority means encryption.
      tls: rabbitmq.tls ?? rabbitmq.tlsCAFile !== undefined,
      ...(rabbitmq.tlsCAFile ? { tlsCAFile: rabbitmq.tlsCAFile } : {}),
    },
    limits: limitsFrom(database.connectionSettings ?? {}, answer.connectionSettings ?? {}, asked, settings),
  };
}

type WirePostgres = NonNullable<DatabaseModule['postgresql']>;
type WireReplica = DatabaseModule['postgresqlReplica'];
type WireSettings = Partial<NonNullable<ConnectionsAnswer['connectionSettings']>>;

function postgresTarget(from: WirePostgres, settings: Settings): PostgresTarget {
  const { schema, sslrootcert, sslcert, sslkey } = from;
  return {
    host: from.host,
    port: from.port,
    database: from.database,
    user: from.username,
    password: from.password,
    sslmode: from.sslmode ?? settings.POSTGRES_SSLMODE,
    ...(schema ? { schema } : {}),
    ...(sslrootcert ? { sslrootcert } : {}),
    ...(sslcert ? { sslcert } : {}),
    ...(sslkey ? { sslkey } : {}),
  };
}

/** Database, role and schema that the replica doesn't name are the primary's, of which it is a copy. One with the primary's address is none. */
function replicaTarget(from: WireReplica, primary: PostgresTarget, settings: Settings): PostgresTarget | undefined {
  if (!from || (from.host === primary.host && from.port === primary.port)) return undefined;
  return {
    ...(primary.schema ? { schema: primary.schema } : {}),
    ...postgresTarget(
      {
        ...from,
        database: from.database || primary.database,
        username: from.username || primary.user,
        password: from.password || primary.password,
      },
      settings,
    ),
  };
}

/** What is wrong with how a target's connections are to be encrypted, if anything is. */
export function tlsProblem({ sslmode, sslrootcert, sslcert, sslkey }: PostgresTarget): string | undefined {
  if (!sslModes.includes(sslmode)) return `sslmode ${JSON.stringify(sslmode)} is none of ${sslModes.join(', ')}`;
  if (sslmode === 'disable' && (sslrootcert ?? sslcert ?? sslkey))
    return 'certificates are named, and sslmode is disable';
  if (sslcert && !sslkey) return 'sslcert is named, and no sslkey';
  if (sslkey && !sslcert) return 'sslkey is named, and no sslcert';
  return undefined;
}

function limitsFrom(
  ours: WireSettings,
  tenants: WireSettings,
  tenantId: TenantId,
  settings: Settings,
): ConnectionLimits {
  let statementTimeoutMs: number | undefined;
  try {
    statementTimeoutMs = readStatementTimeout(ours.statementTimeout) ?? readStatementTimeout(tenants.statementTimeout);
  } catch (error) {
    throw notConfigured(tenantId, `connectionSettings.statementTimeout ${errorMessage(error)}`);
  }
  return {
    maxOpenConns: ours.maxOpenConns ?? tenants.maxOpenConns ?? settings.POSTGRES_MAX_OPEN_CONNS,
    maxIdleConns: ours.maxIdleConns ?? tenants.maxIdleConns ?? settings.POSTGRES_MAX_IDLE_CONNS,
    ...(statementTimeoutMs === undefined ? {} : { statementTimeoutMs }),
  };
}

/** The one tenant of single-tenant mode, from the plain settings. */
export function singleTenantConfig(settings: Settings): TenantConfig {
  const required = (
    name:
      | 'POSTGRES_HOST'
      | 'POSTGRES_DB'
      | 'POSTGRES_USER'
      | 'POSTGRES_PASSWORD'
      | 'RABBITMQ_HOST'
      | 'RABBITMQ_USER'
      | 'RABBITMQ_PASSWORD',
  ) => {
    const value = settings[name];
    if (value === undefined) throw new MatcherError('INVALID_CONFIG', `${name} is required in single-tenant mode`);
    return value;
  };
  return {
    tenantId: canonicalTenantId(settings.DEFAULT_TENANT_ID),
    slug: settings.DEFAULT_TENANT_SLUG,
    postgres: {
      host: required('POSTGRES_HOST'),
      port: settings.POSTGRES_PORT,
      database: required('POSTGRES_DB'),
      user: required('POSTGRES_USER'),
      password: required('POSTGRES_PASSWORD'),
      sslmode: settings.POSTGRES_SSLMODE,
    },
    rabbitmq: {
      host: required('RABBITMQ_HOST'),
      port: settings.RABBITMQ_PORT,
      vhost: settings.RABBITMQ_VHOST,
      user: required('RABBITMQ_USER'),
      password: required('RABBITMQ_PASSWORD'),
      tls: false,
    },
    limits: { maxOpenConns: settings.POSTGRES_MAX_OPEN_CONNS, maxIdleConns: settings.POSTGRES_MAX_IDLE_CONNS },
  };
}

function moduleOf<T>(modules: Record<string, T> | null | undefined): T | undefined {
  if (!modules) return undefined;
  const name = service in modules ? service : Object.keys(modules).sort()[0];
  return name === undefined ? undefined : modules[name];
}

function notConfigured(tenantId: TenantId, what: string): MatcherError {
  return new MatcherError('SERVICE_NOT_CONFIGURED', `Tenant ${tenantId} can't be served: ${what}`, {
    hint: 'Associate the service with the tenant in the Tenant Manager.',
    remedy: 'not-now',
  });
}
