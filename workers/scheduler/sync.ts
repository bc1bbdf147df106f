import type { Logger } from '@matcher/shared/observability/log.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import { readSchedules } from '@matcher/shared/schedules/read-schedules.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { FiringQueue } from './firing-queue.ts';

/**
 * Lets the queue of firings say what the tenant's database says. Two who compare at the same time do so one after the other, so that the newer state stays:
 * a lock in the database is held until the queue is written.
 *
 * @returns how many schedules were changed.
 */
export async function syncSchedules(
  tenantId: TenantId,
  db: TenantDatabase,
  queue: FiringQueue,
  log: Logger,
  signal: AbortSignal,
): Promise<number> {
  return await db.transaction(async (tx) => {
    await tx.query(`SELECT pg_advisory_xact_lock(hashtextextended('schedules of ' || current_schema(), 0))`);
    const wanted = await readSchedules(tx);
    let changed = 0;
    for (const { context, cron, timezone } of wanted) {
      if (!(await queue.keep(tenantId, context, { cron, timezone }))) continue;
      changed++;
      log.info({ tenantId, context, cron, timezone }, 'scheduled');
    }
    const names = new Set(wanted.map(({ context }) => context));
    for (const context of await queue.contexts(tenantId)) {
      if (names.has(context)) continue;
      await queue.drop(tenantId, context);
      changed++;
      log.info({ tenantId, context }, 'not scheduled any more');
    }
    return changed;
  }, signal);
}
