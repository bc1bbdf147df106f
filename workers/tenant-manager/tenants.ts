import { randomBytes, randomUUID } from 'node:crypto';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { ClientBase, Pool } from 'pg';
import type { Limits } from './connections.ts';
import { unknownTenant } from './refusals.ts';
import type { NewTenant } from './requests.ts';

/** A pool or one of its clients. */
export type Queryable = Pick<Pool | ClientBase, 'query'>;

export interface Tenant {
  id: TenantId;
  slug: string;
  name: string;
  environment: string;
  isolation: string;
  status: 'active' | 'suspended' | 'deleted';
  metadata: Record<string, string>;
  owner: { email: string; emailVerified: boolean };
  createdAt: Date;
  updatedAt: Date;
}

const tenantColumns = `id, slug, name, environment, isolation, status, metadata,
  json_build_object('email', owner_email, 'emailVerified', email_verified) AS owner,
  created_at AS "createdAt", updated_at AS "updatedAt"`;

export async function findTenant(db: Queryable, id: TenantId): Promise<Tenant | undefined> {
  const { rows } = await db.query<Tenant>(`SELECT ${tenantColumns} FROM tenant_manager.tenants WHERE id = $1`, [id]);
  return rows[0];
}

/** @throws Refusal 404 without the tenant, or when it was deleted. */
export async function livingTenant(db: Queryable, id: TenantId): Promise<Tenant> {
  const tenant = await findTenant(db, id);
  if (!tenant || tenant.status === 'deleted') throw unknownTenant();
  return tenant;
}

/** @returns `undefined` when a tenant with that id or slug exists. */
export async function insertTenant(db: Queryable, request: NewTenant): Promise<Tenant | undefined> {
  const id = request.id ?? canonicalTenantId(randomUUID());
  const { rows } = await db.query<Tenant>(
    `INSERT INTO tenant_manager.tenants
       (id, slug, name, environment, isolation, metadata, owner_email, email_verified)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT DO NOTHING
     RETURNING ${tenantColumns}`,
    [
      id,
      request.slug ?? slugFor(request.name),
      request.name,
      request.environment,
      request.isolation,
      JSON.stringify(request.metadata),
      request.owner.email,
      request.owner.emailVerified,
    ],
  );
  return rows[0];
}

/** A readable slug for a tenant that came without one; the random end keeps two tenants of one name apart. */
function slugFor(name: string): string {
  const readable = name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}/gu, '')
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 50)
    .replace(/^-+|-+$/g, '');
  return `${readable || 'tenant'}-${randomBytes(4).toString('hex')}`;
}

/** The tenants that a service's workers are to serve, in the contract's form. */
export async function listActive(
  db: Queryable,
  service: string,
): Promise<{ id: string; name: string; status: string }[]> {
  const { rows } = await db.query(
    `SELECT t.id, t.name, a.status
     FROM tenant_manager.tenants t
     JOIN tenant_manager.associations a ON a.tenant_id = t.id
     WHERE a.service = $1 AND a.status = 'active' AND t.status = 'active'
     ORDER BY t.id`,
    [service],
  );
  return rows;
}

/** Every tenant that there is or was, the deleted ones too. `status` is the service's where the tenant itself is active: null where it has none. */
export async function listAll(
  db: Queryable,
  service: string,
): Promise<{ id: string; name: string; slug: string; status: string | null }[]> {
  const { rows } = await db.query(
    `SELECT t.id, t.name, t.slug, CASE WHEN t.status = 'active' THEN a.status ELSE t.status END AS status
     FROM tenant_manager.tenants t
     LEFT JOIN tenant_manager.associations a ON a.tenant_id = t.id AND a.service = $1
     ORDER BY t.id`,
    [service],
  );
  return rows;
}

/** @returns when it was suspended, or `undefined` when it was not active. */
export async function suspendTenant(db: Queryable, id: TenantId): Promise<Date | undefined> {
  const { rows } = await db.query<{ at: Date }>(
    `UPDATE tenant_manager.tenants SET status = 'suspended', updated_at = clock_timestamp()
     WHERE id = $1 AND status = 'active'
     RETURNING updated_at AS at`,
    [id],
  );
  return rows[0]?.at;
}

/** @returns when it was deleted, or `undefined` when it was before. Everything of it stays where it is. */
export async function deleteTenant(db: Queryable, id: TenantId): Promise<Date | undefined> {
  const { rows } = await db.query<{ at: Date }>(
    `UPDATE tenant_manager.tenants SET status = 'deleted', updated_at = clock_timestamp()
     WHERE id = $1 AND status <> 'deleted'
     RETURNING updated_at AS at`,
    [id],
  );
  return rows[0]?.at;
}

/** What a reactivation changed: the tenant itself (`service` is null) and each service that was suspended for it. */
export interface Reactivated extends Limits {
  service: string | null;
  at: Date;
}

/**
 * Reactivates the tenant, be it suspended or deleted, and every service that is suspended for it, at once. What is active, being provisioned
 * or disassociated stays as it is.
 */
export async function reactivate(db: Queryable, id: TenantId): Promise<Reactivated[]> {
  const { rows } = await db.query<Reactivated>(
    `WITH tenant AS (
       UPDATE tenant_manager.tenants SET status = 'active', updated_at = clock_timestamp()
       WHERE id = $1 AND status <> 'active'
       RETURNING updated_at
     ), services AS (
       UPDATE tenant_manager.associations SET status = 'active', updated_at = clock_timestamp()
       WHERE tenant_id = $1 AND status = 'suspended'
       RETURNING service, updated_at, max_open_conns, max_idle_conns, statement_timeout_ms
     )
     SELECT NULL AS service, updated_at AS at, NULL::integer AS "maxOpenConns", NULL::integer AS "maxIdleConns",
       NULL::integer AS "statementTimeoutMs"
     FROM tenant
     UNION ALL
     SELECT service, updated_at, max_open_conns, max_idle_conns, statement_timeout_ms FROM services`,
    [id],
  );
  return rows;
}
