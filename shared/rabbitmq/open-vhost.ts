import { errorMessage, MatcherError } from '../errors.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { isAccessRefused, VhostConnection } from './vhost-connection.ts';
import type { LinkOptions } from './vhost-link.ts';

/**
 * Connects to the tenant's vhost and declares what has to be there.
 *
 * @throws MatcherError `BROKER_UNAVAILABLE`, `BROKER_REFUSED`, and what the source throws.
 */
export async function openVhost(
  source: TenantSource,
  tenantId: TenantId,
  options: LinkOptions,
): Promise<VhostConnection> {
  // What the source refuses is known before anything is tried.
  await source.config(tenantId);
  const connection = new VhostConnection({
    target: async () => (await source.config(tenantId)).rabbitmq,
    refused: () => source.forget(tenantId),
    ...options,
  });
  connection.open();
  try {
    await connection.publishChannel();
    return connection;
  } catch (error) {
    await connection.close();
    throw error instanceof MatcherError && isAccessRefused(error.cause) ? refused(error) : error;
  }
}

function refused({ cause }: MatcherError): MatcherError {
  return new MatcherError('BROKER_REFUSED', `The tenant’s RabbitMQ refuses the connection (${errorMessage(cause)})`, {
    hint: 'Its user, password or vhost is not what the Tenant Manager, or RABBITMQ_*, says.',
    remedy: 'not-now',
    cause,
  });
}
