import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { type Association, changeAssociation, findAssociation } from './associations.ts';
import { durationOf } from './connections.ts';
import { withLock } from './lock.ts';
import type { Parts } from './parts.ts';
import { checkProvisioned, invalidRequest } from './refusals.ts';
import { idleBeyondOpen, type NewLimits } from './requests.ts';
import { livingTenant } from './tenants.ts';

/**
 * Changes the limits of a tenant's connections: `null` clears one, an absent one stays.
 *
 * The role's own CONNECTION LIMIT is left alone: a limit holds for each worker process, whose number nobody knows here, and a role that may
 * open too few connections fails jobs instead of slowing them down.
 *
 * @throws Refusal 404, 403 (purged), 409 (not provisioned completely), 400 when the limits that result contradict each other.
 */
export async function changeLimits(
  parts: Parts,
  tenantId: TenantId,
  service: string,
  limits: NewLimits,
): Promise<Association> {
  return withLock(parts.pool, `${tenantId}/${service}`, async (client) => {
    const tenant = await livingTenant(client, tenantId);
    const before = checkProvisioned(service, await findAssociation(client, tenantId, service));
    const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
    const problem = idleBeyondOpen({ ...before, ...given });
    if (problem) throw invalidRequest([problem]);
    const association = await changeAssociation(client, before, given);
    const { maxOpenConns, maxIdleConns, statementTimeoutMs } = association;
    await parts.events.publish(tenant, 'tenant.connections.updated', association.updatedAt, {
      service_name: service,
      module: service,
      max_open_conns: maxOpenConns ?? 0,
      max_idle_conns: maxIdleConns ?? 0,
      ...(statementTimeoutMs === null ? {} : { statement_timeout: durationOf(statementTimeoutMs) }),
    });
    return association;
  });
}
