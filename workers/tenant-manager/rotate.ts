import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { PoolClient } from 'pg';
import { sealPassword } from './associate.ts';
import { type Association, changeAssociation, findAssociation } from './associations.ts';
import { withLock } from './lock.ts';
import type { Parts } from './parts.ts';
import { type CredentialType, randomPassword } from './passwords.ts';
import { setPassword } from './provision-database.ts';
import { checkProvisioned, Refusal } from './refusals.ts';
import { livingTenant } from './tenants.ts';

/**
 * Gives a tenant new passwords, one after the other, and announces each. At no moment, and after no crash, do the passwords that are served
 * differ from those that are accepted. The former ones open no connection any more; connections that are open go on.
 *
 * @throws Refusal 404, 403 (purged), 409 (not provisioned completely); 503 when a server fails in the middle: what was announced is
 *   changed, and the same call changes it, and the rest, again.
 */
export async function rotate(
  parts: Parts,
  tenantId: TenantId,
  service: string,
  types: readonly CredentialType[],
): Promise<Association> {
  return withLock(parts.pool, `${tenantId}/${service}`, async (client) => {
    const tenant = await livingTenant(client, tenantId);
    let association = checkProvisioned(service, await findAssociation(client, tenantId, service));
    try {
      for (const type of types) {
        const former = association;
        association = await (type === 'database' ? rotateDatabase : rotateBroker)(client, parts, former);
        await parts.events.publish(tenant, 'tenant.credentials.rotated', association.updatedAt, {
          service_name: service,
          credential_type: type,
          // The contract's servers name a place in a vault; here they are where they were, in the connections.
          new_secret_path: '',
        });
        if (type === 'broker') await parts.broker.lockOut(former.brokerUser);
      }
    } catch (error) {
      const reason = { tenantId, code: errorCode(error), reason: errorMessage(error) };
      parts.log.error(reason, 'the rotation was interrupted');
      throw new Refusal(503, 'ROTATION_INTERRUPTED', 'The rotation was interrupted; the same request completes it');
    }
    return association;
  });
}

/** The role and the Tenant Manager's memory of it are on one server: both change in one transaction. */
async function rotateDatabase(client: PoolClient, { seal }: Parts, association: Association): Promise<Association> {
  const { tenantId, service, resourceName } = association;
  const password = randomPassword();
  await client.query('BEGIN');
  await setPassword(client, resourceName, password);
  const changed = await changeAssociation(client, association, {
    databasePassword: sealPassword(seal, tenantId, service, 'database', password),
  });
  await client.query('COMMIT');
  return changed;
}

/** RabbitMQ takes part in no transaction: a second user is ready before it is named, and the two take turns. */
async function rotateBroker(client: PoolClient, { seal, broker }: Parts, association: Association) {
  const { tenantId, service, resourceName, brokerUser } = association;
  const password = randomPassword();
  const next = brokerUsersOf(association).find((user) => user !== brokerUser) as string;
  await broker.provisionUser(resourceName, next, password);
  return changeAssociation(client, association, {
    brokerUser: next,
    brokerPassword: sealPassword(seal, tenantId, service, 'broker', password),
  });
}

/** Both users that a vhost may have. */
export function brokerUsersOf({ resourceName }: Association): [string, string] {
  return [resourceName, `${resourceName}_b`];
}
