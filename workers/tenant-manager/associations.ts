import { randomBytes } from 'node:crypto';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { NewAssociation } from './requests.ts';
import type { Queryable } from './tenants.ts';

export type AssociationStatus = 'provisioning' | 'active' | 'suspended' | 'disassociated' | 'purging' | 'purged';

/** A tenant's use of one service: how far it is provisioned, and what was made for it. */
export interface Association {
  tenantId: TenantId;
  service: string;
  isolationMode: string;
  status: AssociationStatus;
  maxOpenConns: number | null;
  maxIdleConns: number | null;
  /** 0: without end. */
  statementTimeoutMs: number | null;
  /** Of the database or schema, its role, and the vhost. */
  resourceName: string;
  /** In `schema` isolation a shared one. */
  databaseName: string;
  brokerUser: string;
  /** Sealed. */
  databasePassword: Buffer;
  /** Sealed. */
  brokerPassword: Buffer;
  createdAt: Date;
  updatedAt: Date;
}

/** What an association is made by. */
export type AssociationRequest = Omit<NewAssociation, 'isolationMode'> & { isolationMode: string };

const columns = `tenant_id AS "tenantId", service, isolation_mode AS "isolationMode", status,
  max_open_conns AS "maxOpenConns", max_idle_conns AS "maxIdleConns", statement_timeout_ms AS "statementTimeoutMs",
  resource_name AS "resourceName", database_name AS "databaseName", broker_user AS "brokerUser",
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

/** What an operator may know of a tenant's services: no passwords. */
export async function describeAssociations(db: Queryable, tenantId: TenantId): Promise<Record<string, string>[]> {
  const { rows } = await db.query(
    `SELECT service AS "serviceName", status, isolation_mode AS "isolationMode", database_name AS "database",
       resource_name AS "vhost"
     FROM tenant_manager.associations WHERE tenant_id = $1 ORDER BY service`,
    [tenantId],
  );
  return rows;
}

/**
 * Writes down what is going to be made, before it is made. A repetition takes the latest request and passwords, and keeps the names; limits
 * it does not mention stay.
 *
 * @param sharedDatabase the database of a tenant in `schema` isolation.
 */
export async function recordAssociation(
  db: Queryable,
  tenantId: TenantId,
  service: string,
  request: AssociationRequest,
  passwords: { databasePassword: Buffer; brokerPassword: Buffer },
  sharedDatabase: string,
): Promise<Association> {
  const name = newResourceName();
  const { rows } = await db.query<Association>(
    `INSERT INTO tenant_manager.associations AS known
       (tenant_id, service, isolation_mode, max_open_conns, max_idle_conns, resource_name, broker_user, database_name,
        database_password, broker_password)
     VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9)
     ON CONFLICT (tenant_id, service) DO UPDATE SET
       isolation_mode = excluded.isolation_mode,
       (max_open_conns, max_idle_conns) = (
         SELECT (CASE WHEN mentioned THEN excluded ELSE known END).max_open_conns,
                (CASE WHEN mentioned THEN excluded ELSE known END).max_idle_conns
         FROM (SELECT num_nonnulls(excluded.max_open_conns, excluded.max_idle_conns) > 0 AS mentioned) AS request
       ),
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
      name,
      request.isolationMode === 'schema' ? sharedDatabase : name,
      passwords.databasePassword,
      passwords.brokerPassword,
    ],
  );
  return rows[0] as Association;
}

/**
 * Random through and through: every role of a server can read the names of its databases and roles, and must not learn from them who the
 * others are. No longer than the 63 bytes at which PostgreSQL cuts names off.
 */
function newResourceName(): string {
  return `tenant_${randomBytes(12).toString('hex')}`;
}

/** Everything is made. One that was suspended and only got new passwords stays suspended. */
export async function completeAssociation(db: Queryable, tenantId: TenantId, service: string): Promise<Association> {
  const { rows } = await db.query<Association>(
    `UPDATE tenant_manager.associations
     SET status = CASE status WHEN 'suspended' THEN status ELSE 'active' END, updated_at = clock_timestamp()
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

type Changes = Partial<
  Pick<
    Association,
    | 'status'
    | 'maxOpenConns'
    | 'maxIdleConns'
    | 'statementTimeoutMs'
    | 'databasePassword'
    | 'brokerUser'
    | 'brokerPassword'
  >
>;

const changeable: Record<keyof Changes, string> = {
  status: 'status',
  maxOpenConns: 'max_open_conns',
  maxIdleConns: 'max_idle_conns',
  statementTimeoutMs: 'statement_timeout_ms',
  databasePassword: 'database_password',
  brokerUser: 'broker_user',
  brokerPassword: 'broker_password',
};

/** @returns the association as it is then; `updatedAt` is when it was changed, by the database's clock. */
export async function changeAssociation(
  db: Queryable,
  { tenantId, service }: Pick<Association, 'tenantId' | 'service'>,
  changes: Changes,
): Promise<Association> {
  const names = Object.keys(changes) as (keyof Changes)[];
  const { rows } = await db.query<Association>(
    `UPDATE tenant_manager.associations
     SET ${names.map((name, i) => `${changeable[name]} = $${i + 3}, `).join('')} updated_at = clock_timestamp()
     WHERE tenant_id = $1 AND service = $2
     RETURNING ${columns}`,
    [tenantId, service, ...names.map((name) => changes[name])],
  );
  return rows[0] as Association;
}

export async function deleteAssociation(db: Queryable, tenantId: TenantId, service: string): Promise<void> {
  await db.query('DELETE FROM tenant_manager.associations WHERE tenant_id = $1 AND service = $2', [tenantId, service]);
}
