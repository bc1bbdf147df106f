import type { Settings } from '@matcher/shared/config/variables.ts';
import type { connectionsAnswer } from '@matcher/shared/tenancy/wire.ts';
import type { z } from 'zod';
import type { Association } from './associations.ts';
import type { Tenant } from './tenants.ts';

export type Limits = Pick<Association, 'maxOpenConns' | 'maxIdleConns' | 'statementTimeoutMs'>;

/** The contract's connection configuration, in its newer form: one broker per module. Holds passwords. */
export function connectionsOf(
  tenant: Tenant,
  association: Association,
  passwords: { database: string; broker: string },
  settings: Settings,
): z.input<typeof connectionsAnswer> & { createdAt: Date; updatedAt: Date } {
  const { service, resourceName, isolationMode } = association;
  return {
    id: tenant.id,
    tenantSlug: tenant.slug,
    tenantName: tenant.name,
    service,
    status: association.status,
    isolationMode,
    databases: {
      [service]: {
        postgresql: {
          host: settings.POSTGRES_HOST as string,
          port: settings.POSTGRES_PORT,
          database: association.databaseName,
          username: resourceName,
          password: passwords.database,
          ...(isolationMode === 'schema' ? { schema: resourceName } : {}),
          sslmode: settings.POSTGRES_SSLMODE,
        },
        ...connectionSettings(association),
      },
    },
    rabbitmq: {
      [service]: {
        host: settings.RABBITMQ_HOST as string,
        port: settings.RABBITMQ_PORT,
        vhost: resourceName,
        username: association.brokerUser,
        password: passwords.broker,
        tls: false,
      },
    },
    createdAt: association.createdAt,
    updatedAt: association.updatedAt,
  };
}

/** Absent when the association sets no limit at all; a number that is not set is 0, as the protocol's Go servers write it. */
function connectionSettings({ maxOpenConns, maxIdleConns, statementTimeoutMs }: Limits) {
  if (maxOpenConns === null && maxIdleConns === null && statementTimeoutMs === null) return {};
  return {
    connectionSettings: {
      maxOpenConns: maxOpenConns ?? 0,
      maxIdleConns: maxIdleConns ?? 0,
      ...(statementTimeoutMs === null ? {} : { statementTimeout: durationOf(statementTimeoutMs) }),
    },
  };
}

/** The same limits as an event's payload has them. */
export function connectionSettingsEvent(limits: Limits) {
  const { connectionSettings: set } = connectionSettings(limits);
  if (!set) return {};
  const { maxOpenConns, maxIdleConns, statementTimeout } = set;
  return {
    connection_settings: {
      max_open_conns: maxOpenConns,
      max_idle_conns: maxIdleConns,
      ...(statementTimeout === undefined ? {} : { statement_timeout: statementTimeout }),
    },
  };
}

/** As both PostgreSQL and Go read it. */
export function durationOf(ms: number): string {
  return `${ms}ms`;
}
