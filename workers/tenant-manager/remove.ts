import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { type Association, changeAssociation, findAssociation } from './associations.ts';
import { withLock } from './lock.ts';
import type { Parts } from './parts.ts';
import { dropDatabase } from './provision-database.ts';
import { dropSchema } from './provision-schema.ts';
import { purged, Refusal, unknownAssociation, unknownTenant } from './refusals.ts';
import { brokerUsersOf } from './rotate.ts';
import { findTenant } from './tenants.ts';

/**
 * Ends a tenant's use of a service. Its data and what waits in its queues stay, and are there again when it is associated anew; its
 * credentials stay too, so that running jobs come to their end.
 *
 * @throws Refusal 404 without the association, 403 when it was purged.
 */
export async function disassociate(parts: Parts, tenantId: TenantId, service: string): Promise<Association> {
  return withLock(parts.pool, `${tenantId}/${service}`, async (client) => {
    const tenant = await findTenant(client, tenantId);
    if (!tenant) throw unknownTenant();
    const association = await findAssociation(client, tenantId, service);
    if (!association) throw unknownAssociation(service);
    if (association.status === 'disassociated') return association;
    if (association.status === 'purging' || association.status === 'purged') throw purged();
    const changed = await changeAssociation(client, association, { status: 'disassociated' });
    await parts.events.publish(tenant, 'tenant.service.disassociated', changed.updatedAt, {
      service_name: service,
      preserve_data: true,
    });
    return changed;
  });
}

/**
 * Drops what a disassociated tenant left behind: database or schema, role, vhost, users. There is no way back.
 *
 * @throws Refusal 404 without the association, 409 unless it was disassociated before: its workers have to have let go of it; 503 when a
 *   server fails in the middle: the same call continues then.
 */
export async function purge(parts: Parts, tenantId: TenantId, service: string): Promise<Association> {
  return withLock(parts.pool, `${tenantId}/${service}`, async (client) => {
    const tenant = await findTenant(client, tenantId);
    if (!tenant) throw unknownTenant();
    const association = await findAssociation(client, tenantId, service);
    if (!association) throw unknownAssociation(service);
    const { status, isolationMode, databaseName, resourceName } = association;
    if (status === 'purged') return association;
    if (status === 'disassociated') await changeAssociation(client, association, { status: 'purging' });
    else if (status !== 'purging') {
      throw new Refusal(409, 'STILL_ASSOCIATED', 'Only what was disassociated before is purged');
    }
    try {
      if (isolationMode === 'schema') await dropSchema(client, parts.settings, databaseName, resourceName);
      else await dropDatabase(client, resourceName);
      await parts.broker.drop(resourceName, brokerUsersOf(association));
    } catch (error) {
      const reason = { tenantId, code: errorCode(error), reason: errorMessage(error) };
      parts.log.error(reason, 'purging was interrupted');
      throw new Refusal(503, 'PURGE_INTERRUPTED', 'Purging was interrupted; the same request continues it');
    }
    const none = Buffer.alloc(0);
    const done = await changeAssociation(client, association, {
      status: 'purged',
      databasePassword: none,
      brokerPassword: none,
    });
    await parts.events.publish(tenant, 'tenant.service.purged', done.updatedAt, { service_name: service });
    return done;
  });
}
