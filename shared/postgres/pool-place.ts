import { isDeepStrictEqual } from 'node:util';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import type { OpenedPool } from './open-pool.ts';

/** Why a pool is closed; the label of the metric that counts them. */
export type CloseReason = 'idle' | 'limit' | 'replaced' | 'removed' | 'stopping';

/** One of the bounded places for pools: opening, open or closing. It is taken until the last connection of its pool is gone. */
export class PoolPlace {
  readonly tenantId: TenantId;
  readonly opened: Promise<OpenedPool>;
  /** Ends the opening, which then fails with the reason. */
  readonly abandon: AbortController;
  /** What the opening ended with. */
  pool: OpenedPool | undefined;
  /** What it was opened with, and what has become of it in matters that are none of its business. */
  config: TenantConfig | undefined;
  /** What was said last about its tenant's configuration. */
  wanted: TenantConfig | undefined;
  /** A pool with the wanted configuration that is being opened and takes over when it stands. */
  successor: PoolPlace | undefined;
  leases = 0;
  /** Nobody else comes in, for this reason; whoever leaves last closes it. */
  leaving: CloseReason | undefined;
  closing = false;
  /** It has been closing for so long that nobody should count on it. */
  slow = false;
  /** Those who are still coming in get this instead of a lease. */
  refusal: Error | undefined;
  /** PostgreSQL has refused it a connection. */
  refused = false;
  /** When its last user left. */
  restsSince = 0;
  idleTimer: NodeJS.Timeout | undefined;
  readonly gone = Promise.withResolvers<void>();
  /** When the first of the present leases came. */
  #busySince = 0;

  constructor(tenantId: TenantId, opened: Promise<OpenedPool>, abandon: AbortController) {
    this.tenantId = tenantId;
    this.opened = opened;
    this.abandon = abandon;
  }

  /** Stands open and nobody holds it: it can be closed without harm. */
  get idle(): boolean {
    return this.pool !== undefined && this.leases === 0 && !this.closing;
  }

  /** Whether it has been in use without a break for longer than a turn: then others come first, if there are any. */
  hadItsTurn(turnMs: number): boolean {
    return this.leases > 0 && performance.now() - this.#busySince >= turnMs;
  }

  come(): void {
    if (this.leases++ === 0) this.#busySince = performance.now();
  }

  leave(): void {
    this.leases--;
  }
}

/** Whether a pool that was opened with `one` is what `other` asks for. */
export function isSameDatabase(one: TenantConfig, other: TenantConfig): boolean {
  const { postgres, replica, limits } = one;
  return isDeepStrictEqual(
    { postgres, replica, limits },
    { postgres: other.postgres, replica: other.replica, limits: other.limits },
  );
}
