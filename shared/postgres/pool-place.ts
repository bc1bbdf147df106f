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
  readonly gone = Promise.withResolvers<void>();
  /** When the first of the present leases came. */
  #busySince = 0;
  /** When its last user left. */
  #restsSince = 0;
  #idleTimer: NodeJS.Timeout | undefined;

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

  /** Nobody is there now: calls `over` when that has been so for `idleMs`. The timer is not set anew with every use: when it fires, it looks when the last one was. */
  rest(idleMs: number, over: () => void): void {
    this.#restsSince = performance.now();
    if (!this.#idleTimer) this.#look(idleMs, idleMs, over);
  }

  #look(afterMs: number, idleMs: number, over: () => void): void {
    const look = () => {
      this.#idleTimer = undefined;
      if (!this.idle) return;
      const left = this.#restsSince + idleMs - performance.now();
      if (left >= 1) this.#look(left, idleMs, over);
      else over();
    };
    this.#idleTimer = setTimeout(look, afterMs).unref();
  }

  /** It is being closed. */
  close(): void {
    clearTimeout(this.#idleTimer);
    this.closing = true;
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
