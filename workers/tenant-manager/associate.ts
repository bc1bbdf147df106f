import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Pool, PoolClient } from 'pg';
import { type Association, completeAssociation, findAssociation, recordAssociation } from './associations.ts';
import { connectionSettingsEvent } from './connections.ts';
import type { Parts } from './parts.ts';
import { type PasswordSeal, randomPassword } from './passwords.ts';
import { provisionDatabase } from './provision-database.ts';
import { Refusal, unknownTenant } from './refusals.ts';
import type { NewAssociation } from './requests.ts';
import { findTenant, type Tenant } from './tenants.ts';

/**
 * Gives a tenant its database and its vhost for a service; returns when both can be used, and announced them. One that was interrupted
 * is continued, one whose passwords can't be opened any more (another API key) gets new ones.
 *
 * @throws Refusal 404 without the tenant, 409 when the association is complete already, 503 when a server fails in the middle: the
 *   same call continues then.
 */
export async function associate(
  parts: Parts,
  tenantId: TenantId,
  service: string,
  request: NewAssociation,
): Promise<Association> {
  const { tenant, before, association } = await withLock(parts.pool, `${tenantId}/${service}`, async (client) => {
    const tenant = await findTenant(client, tenantId);
    if (!tenant) throw unknownTenant();
    const before = await findAssociation(client, tenantId, service);
    const known = before && openPasswords(parts.seal, before);
    if (before && known && before.status !== 'provisioning') {
      throw new Refusal(409, 'ASSOCIATION_EXISTS', `The tenant is associated with ${service} already`);
    }
    const passwords = known ?? { database: randomPassword(), broker: randomPassword() };
    const { resourceName } = await recordAssociation(
      client,
      tenantId,
      service,
      request,
      sealPasswords(parts.seal, tenantId, service, passwords),
    );
    try {
      await provisionDatabase(client, resourceName, passwords.database);
      await parts.broker.provisionVhost(resourceName, passwords.broker);
    } catch (error) {
      const reason = { tenantId, code: errorCode(error), reason: errorMessage(error) };
      parts.log.error(reason, 'provisioning was interrupted');
      throw new Refusal(503, 'PROVISIONING_FAILED', 'Provisioning was interrupted; the same request continues it');
    }
    return { tenant, before, association: await completeAssociation(client, tenantId, service) };
  });
  await announce(parts, tenant, before, association);
  return association;
}

async function announce(parts: Parts, tenant: Tenant, before: Association | undefined, association: Association) {
  if (before && before.status !== 'provisioning') {
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

function sealPasswords(
  seal: PasswordSeal,
  tenantId: TenantId,
  service: string,
  passwords: { database: string; broker: string },
) {
  return {
    databasePassword: seal.seal(passwords.database, `${tenantId}/${service}/database`),
    brokerPassword: seal.seal(passwords.broker, `${tenantId}/${service}/broker`),
  };
}

/**
 * Runs `work` while no other process works on the same subject. The lock belongs to the session, since a database can't be created inside a
 * transaction; everything runs on the session's own client, so that waiting requests can't take the connections that the working one needs.
 */
async function withLock<T>(pool: Pool, subject: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  const key = `tenant-manager/${subject}`;
  try {
    await client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', [key]);
    const result = await work(client);
    await client.query('SELECT pg_advisory_unlock(hashtextextended($1, 0))', [key]);
    client.release();
    return result;
  } catch (error) {
    // A session that was interrupted anywhere ends, and its lock with it.
    client.release(true);
    throw error;
  }
}
