import { hash32 } from '../hash.ts';
import type { TenantId } from './tenant-id.ts';

/** Looks per interval at who is due; the tenants between two of them come together. */
const looks = 60;

/**
 * Visits every tenant once per interval, each at its own moment of it: the load is even, however many tenants there are. A tenant's moment
 * stays the same, and differs from process to process. Who comes to be among the tenants is visited within an interval from then.
 *
 * @param visit must return at once.
 * @returns a function that ends it.
 */
export function visitSpread(
  intervalMs: number,
  tenants: () => Iterable<TenantId>,
  visit: (tenantId: TenantId) => void,
): () => void {
  const seed = Math.floor(Math.random() * 2 ** 32);
  let before = performance.now();
  const timer = setInterval(
    () => {
      const now = performance.now();
      // A busy event loop makes a look late, and nobody is left out by that.
      const isDue = (moment: number) =>
        Math.floor((now - moment) / intervalMs) > Math.floor((before - moment) / intervalMs);
      for (const tenantId of tenants()) {
        if (isDue((hash32(tenantId, seed) / 2 ** 32) * intervalMs)) visit(tenantId);
      }
      before = now;
    },
    Math.max(50, intervalMs / looks),
  );
  return () => clearInterval(timer);
}
