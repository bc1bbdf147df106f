import type { Settings } from '@matcher/shared/config/variables.ts';
import type { ConnectionsAnswer } from '@matcher/shared/tenancy/wire.ts';
import type { Association } from './associations.ts';
import type { Tenant } from './tenants.ts';

type Limits = Pick<Association, 'maxOpenConns' | 'maxIdleConns'>;

/** The contract's connection configuration, in its newer form: one broker per module. Holds passwords. */
export function connectionsOf(
  tenant: Tenant,
  association: Association,
  passwords: { database: string; broker: string },
  settings: Settings,
): ConnectionsAnswer & { createdAt: Date; updatedAt: Date } {
  const { service, resourceName } = association;
  return {
    id: tenant.id,
    tenantSlug: tenant.slug,
    tenantName: tenant.name,
    service,
    status: association.status,
    isolationMode: association.isolationMode,
    databases: {
      [service]: {
        postgresql: {
          host: settings.POSTGRES_HOST as string,
          port: settings.POSTGRES_PORT,
          database: resourceName,
          username: resourceName,
          password: passwords.database,
          schema: undefined,
          sslmode: settings.POSTGRES_SSLMODE,
          sslrootcert: undefined,
          sslcert: undefined,
          sslkey: undefined,
        },
        ...connectionSettings(association),
      },
    },
    rabbitmq: {
      [service]: {
        host: settings.RABBITMQ_HOST as string,
        port: settings.RABBITMQ_PORT,
        vhost: resourceName,
        username: resourceName,
        password: passwords.broker,
        tls: false,
        tlsCAFile: undefined,
      },
    },
    createdAt: association.createdAt,
    updatedAt: association.updatedAt,
  };
}

/** Absent when the association sets no limit at all; one that is not set is 0, as the protocol's Go servers write it. */
function connectionSettings({ maxOpenConns, maxIdleConns }: Limits) {
  if (maxOpenConns === null && maxIdleConns === null) return {};
  return { connectionSettings: { maxOpenConns: maxOpenConns ?? 0, maxIdleConns: maxIdleConns ?? 0 } };
}

/** The same limits as an event's payload has them. */
export function connectionSettingsEvent(limits: Limits) {
  const { connectionSettings: set } = connectionSettings(limits);
  return set ? { connection_settings: { max_open_conns: set.maxOpenConns, max_idle_conns: set.maxIdleConns } } : {};
}
