import { MatcherError } from '@matcher/shared/errors.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';

const firstPause = 1000;
const longestPause = 60_000;

/**
 * Tenants whose database or broker did not answer a moment ago. A server that swallows what it is sent takes ten seconds to be found out: that is spent
 * once per pause, and not for every firing of every context, so that those of other tenants go on.
 */
export class TenantPauses {
  readonly #pauses = new Map<TenantId, { until: number; length: number }>();

  /** @throws MatcherError `TENANT_PAUSED` while the tenant is left alone. */
  check(tenantId: TenantId): void {
    const until = this.#pauses.get(tenantId)?.until;
    if (until === undefined || performance.now() >= until) return;
    throw new MatcherError('TENANT_PAUSED', 'The tenant’s servers did not answer a moment ago', { remedy: 'not-now' });
  }

  /** Its servers did not answer. Each time in a row, the pause is twice as long. */
  begin(tenantId: TenantId): void {
    const length = Math.min(2 * (this.#pauses.get(tenantId)?.length ?? firstPause / 2), longestPause);
    this.#pauses.set(tenantId, { until: performance.now() + length, length });
  }

  end(tenantId: TenantId): void {
    this.#pauses.delete(tenantId);
  }
}
