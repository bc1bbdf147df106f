import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { PoolClient } from 'pg';
import {
  type Association,
  type AssociationRequest,
  completeAssociation,
  deleteAssociation,
  findAssociation,
  recordAssociation,
} from './associations.ts';
import { connectionSettingsEvent } from './connections.ts';
import { withLock } from './lock.ts';
import type { Parts } from './parts.ts';
import { type CredentialType, type PasswordSeal, randomPassword } from './passwords.ts';
import { provisionDatabase } from './provision-database.ts';
import { provisionSchema, sharedDatabaseOf } from './provision-schema.ts';
import { Refusal } from './refusals.ts';
import type { NewAssociation } from './requests.ts';
import { livingTenant, type Tenant } from './tenants.ts';

/**
 * Gives a tenant its database (or schema) and its vhost for a service; returns when both can be used, and announced them. One that was
 * interrupted is continued, one that was disassociated finds its data again, one that was purged begins anew, and one whose passwords
 * can't be opened any more (another API key) gets new ones.
 *
 * @throws Refusal 404 without the tenant, 409 when the association is complete already, 503 when a server fails in the middle: the
 *   same call continues then.
 */
export async function associate(
  parts: Parts,
  tenantId: TenantId,
  service: string,
  asked: NewAssociation,
): Promise<Association> {
  return withLock(parts.pool, `${tenantId}/${service}`, async (client) => {
    const tenant = await livingTenant(client, tenantId);
    let before = await findAssociation(client, tenantId, service);
    if (before?.status === 'purged') {
      await deleteAssociation(client, tenantId, service);
      before = undefined;
    }
    const isolationMode = asked.isolationMode ?? before?.isolationMode ?? tenant.isolation;
    const request = { ...asked, isolationMode };
    const known = before && openPasswords(parts.seal, before);
    if (before) checkRepeatable(before, known !== undefined, request);
    const passwords = known ?? { database: randomPassword(), broker: randomPassword() };
    const recorded = await recordAssociation(
      client,
      tenantId,
      service,
      request,
      {
        databasePassword: sealPassword(parts.seal, tenantId, service, 'database', passwords.database),
        brokerPassword: sealPassword(parts.seal, tenantId, service, 'broker', passwords.broker),
      },
      sharedDatabaseOf(parts.settings),
    );
    try {
      await provision(client, parts, recorded, passwords);
    } catch (error) {
      const reason = { tenantId, code: errorCode(error), reason: errorMessage(error) };
      parts.log.error(reason, 'provisioning was interrupted');
      throw new Refusal(503, 'PROVISIONING_FAILED', 'Provisioning was interrupted; the same request continues it');
    }
    const association = await completeAssociation(client, tenantId, service);
    await announce(parts, tenant, before, association);
    return association;
  });
}

/** @throws Refusal 409 for an association that has nothing to continue, or that could only be continued as it was begun. */
function checkRepeatable(
  { status, service, isolationMode }: Association,
  readable: boolean,
  request: AssociationRequest,
) {
  if (status === 'purging') {
    throw new Refusal(409, 'PURGING', 'The association is being purged; repeat its DELETE with purge=true first');
  }
  if (readable && (status === 'active' || status === 'suspended')) {
    throw new Refusal(409, 'ASSOCIATION_EXISTS', `The tenant is associated with ${service} already`);
  }
  if ((isolationMode === 'schema') !== (request.isolationMode === 'schema')) {
    const message = `The tenant's data is in the isolation mode ${isolationMode} and is not moved to another one`;
    throw new Refusal(409, 'ISOLATION_MODE_FIXED', message);
  }
}

async function provision(
  client: PoolClient,
  { settings, broker }: Parts,
  { isolationMode, databaseName, resourceName, brokerUser }: Association,
  passwords: { database: string; broker: string },
): Promise<void> {
  if (isolationMode === 'schema') {
    await provisionSchema(client, settings, databaseName, resourceName, passwords.database);
  } else {
    await provisionDatabase(client, resourceName, passwords.database);
  }
  await broker.provisionVhost(resourceName, brokerUser, passwords.broker);
}

async function announce(parts: Parts, tenant: Tenant, before: Association | undefined, association: Association) {
  if (before?.status === 'active' || before?.status === 'suspended') {
    // Not "associated": that would start a tenant whose service is suspended.
    await parts.events.publish(tenant, 'tenant.cache.invalidate', association.updatedAt, {
      service_name: association.service,
      reason: 'new credentials',
    });
    return;
  }
  await parts.events.publish(tenant, 'tenant.service.associated', association.updatedAt, {
    service_name: association.service,
    isolation_mode: association.isolationMode,
    modules: [association.service],
    ...connectionSettingsEvent(association),
  });
}

/** @returns `undefined` when they were sealed with another API key. */
export function openPasswords(
  seal: PasswordSeal,
  { tenantId, service, databasePassword, brokerPassword }: Association,
): { database: string; broker: string } | undefined {
  const database = seal.open(databasePassword, `${tenantId}/${service}/database`);
  const broker = seal.open(brokerPassword, `${tenantId}/${service}/broker`);
  return database === undefined || broker === undefined ? undefined : { database, broker };
}

export function sealPassword(
  seal: PasswordSeal,
  tenantId: TenantId,
  service: string,
  type: CredentialType,
  password: string,
): Buffer {
  return seal.seal(password, `${tenantId}/${service}/${type}`);
}
