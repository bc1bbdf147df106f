import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import type { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { FiringQueue } from './firing-queue.ts';
import type { MaintenanceQueue } from './maintenance-queue.ts';

/**
 * Keeps those who are looked after in step with the tenants that are active. A tenant that comes is looked after at once, by which its schedules are there;
 * of one that goes, nothing is left. Every scheduler does so, and each finds most of it done.
 */
export class TenantRoster {
  readonly #directory: TenantDirectory;
  readonly #queue: MaintenanceQueue;
  readonly #firings: FiringQueue;
  readonly #log: Logger;
  /** Tenants whose presence is to be looked at, in the order in which they came. */
  readonly #waiting = new Set<TenantId>();
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(directory: TenantDirectory, queue: MaintenanceQueue, firings: FiringQueue, log: Logger) {
    this.#directory = directory;
    this.#queue = queue;
    this.#firings = firings;
    this.#log = log;
    directory.on('added', (tenantId) => this.#look(tenantId));
    directory.on('removed', (tenantId) => this.#look(tenantId));
    directory.on('compared', () => void this.#compare());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#working;
  }

  #look(tenantId: TenantId): void {
    this.#waiting.add(tenantId);
    this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    for (const tenantId of this.#waiting) {
      if (this.#stopped) return;
      this.#waiting.delete(tenantId);
      try {
        if (this.#directory.active.has(tenantId)) {
          if (await this.#queue.keep(tenantId)) this.#log.info({ tenantId }, 'the tenant is looked after');
        } else {
          await this.#queue.drop(tenantId);
          await this.#firings.dropAll(tenantId);
        }
      } catch (error) {
        // The next comparison finds it.
        this.#log.warn(
          { tenantId, code: errorCode(error), reason: errorMessage(error) },
          'a tenant is not looked after',
        );
      }
    }
    // In the same turn as the last look at who waits: whoever comes now begins anew.
    this.#working = undefined;
  }

  /** What Redis has lost, or kept of tenants that went while no scheduler was there. Numbers first: most often they are equal. */
  async #compare(): Promise<void> {
    const { active, known } = this.#directory;
    if (!known || this.#stopped || this.#waiting.size > 0) return;
    try {
      if ((await this.#queue.count()) === active.size) return;
      const present = new Set(await this.#queue.tenants());
      for (const tenantId of active) if (!present.has(tenantId)) this.#look(tenantId);
      for (const tenantId of present) if (!active.has(tenantId)) this.#look(tenantId);
    } catch (error) {
      this.#log.warn(
        { code: errorCode(error), reason: errorMessage(error) },
        'the tenants that are looked after cannot be read',
      );
    }
  }
}
