import { randomBytes } from 'node:crypto';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { NewAssociation } from './requests.ts';
import type { Queryable } from './tenants.ts';

export type AssociationStatus = 'provisioning' | 'active' | 'suspended';

/** A tenant's use of one service: how far it is provisioned, and what was made for it. */
export interface Association {
  tenantId: TenantId;
  service: string;
  isolationMode: string;
  status: AssociationStatus;
  maxOpenConns: number | null;
  maxIdleConns: number | null;
  /** Of the database, its role, the vhost and its user. */
  resourceName: string;
  /** Sealed. */
  databasePassword: Buffer;
  /** Sealed. */
  brokerPassword: Buffer;
  createdAt: Date;
  updatedAt: Date;
}

const columns = `tenant_id AS "tenantId", service, isolation_mode AS "isolationMode", status,
  max_open_conns AS "maxOpenConns", max_idle_conns AS "maxIdleConns", resource_name AS "resourceName",
  database_password AS "databasePassword", broker_password AS "brokerPassword",
  created_at AS "createdAt", updated_at AS "updatedAt"`;

export async function findAssociation(
  db: Queryable,
  tenantId: TenantId,
  service: string,
): Promise<Association | undefined> {
  const { rows } = await db.query<Association>(
    `SELECT ${columns} FROM tenant_manager.associations WHERE tenant_id = $1 AND service = $2`,
    [tenantId, service],
  );
  return rows[0];
}

export async function associationStatuses(
  db: Queryable,
  tenantId: TenantId,
): Promise<{ serviceName: string; status: AssociationStatus }[]> {
  const { rows } = await db.query(
    `SELECT service AS "serviceName", status FROM tenant_manager.associations WHERE tenant_id = $1 ORDER BY service`,
    [tenantId],
  );
  return rows;
}

/** Writes down what is going to be made, before it is made. A repetition takes the latest request and passwords, and keeps the name. */
export async function recordAssociation(
  db: Queryable,
  tenantId: TenantId,
  service: string,
  request: NewAssociation,
  passwords: { databasePassword: Buffer; brokerPassword: Buffer },
): Promise<Association> {
  const { rows } = await db.query<Association>(
    `INSERT INTO tenant_manager.associations
       (tenant_id, service, isolation_mode, max_open_conns, max_idle_conns, resource_name, database_password, broker_password)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (tenant_id, service) DO UPDATE SET
       isolation_mode = excluded.isolation_mode,
       max_open_conns = excluded.max_open_conns,
       max_idle_conns = excluded.max_idle_conns,
       database_password = excluded.database_password,
       broker_password = excluded.broker_password,
       updated_at = clock_timestamp()
     RETURNING ${columns}`,
    [
      tenantId,
      service,
      request.isolationMode,
      request.maxOpenConns,
      request.maxIdleConns,
      newResourceName(tenantId),
      passwords.databasePassword,
      passwords.brokerPassword,
    ],
  );
  return rows[0] as Association;
}

/**
 * Readable by its beginning and unique by its random end: identifiers of up to 256 characters, that differ only in case or belong to two
 * deployments on one server, get names of at most 63 bytes (PostgreSQL cuts longer ones off) that are never shared.
 */
function newResourceName(tenantId: TenantId): string {
  const readable = tenantId.toLowerCase().replaceAll('-', '_').slice(0, 32);
  return `tenant_${readable}_${randomBytes(8).toString('hex')}`;
}

/** Everything is made. One that was suspended and only got new passwords stays suspended. */
export async function completeAssociation(db: Queryable, tenantId: TenantId, service: string): Promise<Association> {
  const { rows } = await db.query<Association>(
    `UPDATE tenant_manager.associations
     SET status = CASE status WHEN 'provisioning' THEN 'active' ELSE status END, updated_at = clock_timestamp()
     WHERE tenant_id = $1 AND service = $2
     RETURNING ${columns}`,
    [tenantId, service],
  );
  return rows[0] as Association;
}

/** @returns when it was suspended, or `undefined` when it was not active. */
export async function suspendAssociation(
  db: Queryable,
  tenantId: TenantId,
  service: string,
): Promise<Date | undefined> {
  const { rows } = await db.query<{ at: Date }>(
    `UPDATE tenant_manager.associations SET status = 'suspended', updated_at = clock_timestamp()
     WHERE tenant_id = $1 AND service = $2 AND status = 'active'
     RETURNING updated_at AS at`,
    [tenantId, service],
  );
  return rows[0]?.at;
}
