import type { TenantId } from '../tenancy/tenant-id.ts';
import type { PoolPlace } from './pool-place.ts';

/** The bounded places of all tenants, and which of them a tenant's leases go to. */
export class PoolPlaces {
  readonly limit: number;
  /** Least recently used first: coming and leaving move a place to the end. */
  readonly #all = new Set<PoolPlace>();
  /** One at most per tenant; its earlier ones, that gave way, may still be held. */
  readonly #current = new Map<TenantId, PoolPlace>();
  /** The most recently used one. */
  #newest: PoolPlace | undefined;

  constructor(limit: number) {
    this.limit = limit;
  }

  get size(): number {
    return this.#all.size;
  }

  get full(): boolean {
    return this.#all.size >= this.limit;
  }

  /** As they are now, the least recently used first. */
  all(): PoolPlace[] {
    return [...this.#all];
  }

  of(tenantId: TenantId): PoolPlace[] {
    return this.all().filter((place) => place.tenantId === tenantId);
  }

  current(tenantId: TenantId): PoolPlace | undefined {
    return this.#current.get(tenantId);
  }

  /** Those who have a current place. */
  tenants(): TenantId[] {
    return [...this.#current.keys()];
  }

  /** @param old the place that it is to succeed, which stays the current one as long as it lets anybody in. */
  add(place: PoolPlace, old?: PoolPlace): void {
    this.#all.add(place);
    this.#newest = place;
    if (old) old.successor = place;
    else this.#current.set(place.tenantId, place);
  }

  used(place: PoolPlace): void {
    if (place === this.#newest) return;
    this.#all.delete(place);
    this.#all.add(place);
    this.#newest = place;
  }

  /** Nobody is sent to it any more; those who come go to its successor, if it has one. */
  withdraw(place: PoolPlace): void {
    const { tenantId, successor } = place;
    if (this.#current.get(tenantId) !== place) return;
    if (successor && !successor.leaving) this.#current.set(tenantId, successor);
    else this.#current.delete(tenantId);
  }

  remove(place: PoolPlace): void {
    this.#all.delete(place);
    if (place === this.#newest) this.#newest = undefined;
    this.withdraw(place);
  }

  count(which: (place: PoolPlace) => boolean): number {
    let count = 0;
    for (const place of this.#all) if (which(place)) count++;
    return count;
  }
}
