import { LRUCache } from 'lru-cache';
import { MatcherError } from '../errors.ts';
import type { RabbitmqTarget, TenantConfig } from './tenant-config.ts';
import type { TenantId } from './tenant-id.ts';

/** Tenants whose vhosts are kept in mind at most; who was not heard of for longest goes. */
const maxKept = 20_000;

/**
 * Which tenant each vhost belongs to, as far as this process was told. Two tenants with one vhost would be each other's dead letters, or worse: the first
 * goes on, and the second is not served.
 */
export class VhostOwners {
  readonly #owners = new Map<string, TenantId>();
  readonly #vhosts = new LRUCache<TenantId, string>({
    max: maxKept,
    dispose: (vhost, tenantId) => {
      if (this.#owners.get(vhost) === tenantId) this.#owners.delete(vhost);
    },
  });

  /** Another tenant that the vhost belongs to. */
  otherThan({ tenantId, rabbitmq }: TenantConfig): TenantId | undefined {
    const owner = this.#owners.get(addressOf(rabbitmq));
    return owner === tenantId ? undefined : owner;
  }

  /**
   * The tenant is where its configuration says, and no longer where it was before.
   *
   * @throws MatcherError `VHOST_OF_ANOTHER_TENANT`, not-now.
   */
  settle(config: TenantConfig): void {
    const { tenantId, rabbitmq } = config;
    const owner = this.otherThan(config);
    if (owner !== undefined) {
      throw new MatcherError(
        'VHOST_OF_ANOTHER_TENANT',
        `Tenant ${tenantId} is not served: its vhost ${addressOf(rabbitmq)} is that of tenant ${owner}`,
        { hint: 'Give each tenant a vhost of its own in the Tenant Manager.', remedy: 'not-now' },
      );
    }
    this.#vhosts.set(tenantId, addressOf(rabbitmq));
    this.#owners.set(addressOf(rabbitmq), tenantId);
  }

  /** The tenant has no vhost any more. */
  leave(tenantId: TenantId): void {
    this.#vhosts.delete(tenantId);
  }
}

export function isSameVhost(one: RabbitmqTarget, other: RabbitmqTarget): boolean {
  return addressOf(one) === addressOf(other);
}

function addressOf({ host, port, vhost }: RabbitmqTarget): string {
  return `${host.toLowerCase()}:${port}/${encodeURIComponent(vhost)}`;
}
