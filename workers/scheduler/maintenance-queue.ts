import type { Settings } from '@matcher/shared/config/variables.ts';
import { hash32 } from '@matcher/shared/hash.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { schedulerKeys } from '@matcher/shared/schedules/poke.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { type Due, maintenanceOptions, openQueue } from './bull.ts';

export const maintenanceQueueName = 'maintenance';

/** How long (s) a tenant's bucket stays unlooked at after a look: what is removed there is a day old anyway. */
const sweepPause = 6 * 3600;

/** Which tenants are looked after, each at its own moment of the interval. */
export class MaintenanceQueue {
  readonly #queue: Queue<Due>;
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #every: number;

  constructor(redis: Redis, settings: Settings, log: Logger) {
    this.#queue = openQueue(maintenanceQueueName, settings, log);
    this.#redis = redis;
    this.#prefix = schedulerKeys(settings).prefix;
    this.#every = settings.MAINTENANCE_INTERVAL_SEC * 1000;
  }

  /** How many tenants are looked after. */
  async count(): Promise<number> {
    return await this.#queue.getJobSchedulersCount();
  }

  async tenants(): Promise<TenantId[]> {
    return (await this.#redis.zrange(`${this.#prefix}:${maintenanceQueueName}:repeat`, 0, '-1')) as TenantId[];
  }

  /**
   * Looks after a tenant from now on, the first time at once; one that is being looked after is left alone.
   *
   * @returns whether it was not.
   */
  async keep(tenantId: TenantId): Promise<boolean> {
    if ((await this.#queue.getJobScheduler(tenantId))?.every === this.#every) return false;
    const job = { name: 'maintenance', data: { tenantId }, opts: maintenanceOptions };
    // 0 would mean: from now on.
    const offset = 1 + (hash32(tenantId) % (this.#every - 1));
    await this.#queue.upsertJobScheduler(tenantId, { every: this.#every, offset }, job);
    // Several processes that find a tenant missing ask for it once.
    await this.#queue.add(job.name, job.data, { ...job.opts, jobId: `first-${tenantId}` });
    return true;
  }

  async drop(tenantId: TenantId): Promise<void> {
    await this.#queue.removeJobScheduler(tenantId);
    await this.#redis.del(this.#sweptKey(tenantId));
  }

  /** Whether it is this look at which the tenant's bucket has its turn. */
  async isSweepDue(tenantId: TenantId): Promise<boolean> {
    return (await this.#redis.get(this.#sweptKey(tenantId))) === null;
  }

  async swept(tenantId: TenantId): Promise<void> {
    await this.#redis.set(this.#sweptKey(tenantId), '1', 'EX', sweepPause);
  }

  async close(): Promise<void> {
    await this.#queue.close();
  }

  #sweptKey(tenantId: TenantId): string {
    return `${this.#prefix}:swept:${tenantId}`;
  }
}
