import type { Settings } from '@matcher/shared/config/variables.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import type { Schedule } from '@matcher/shared/schedules/cron.ts';
import { schedulerKeys } from '@matcher/shared/schedules/poke.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { type Due, firingOptions, openQueue } from './bull.ts';

export const firingQueueName = 'firings';

/** What is to fire when: one of BullMQ's job schedulers per context, and beside them which contexts of a tenant have one. */
export class FiringQueue {
  readonly #queue: Queue<Due>;
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, settings: Settings, log: Logger) {
    this.#queue = openQueue(firingQueueName, settings, log);
    this.#redis = redis;
    this.#prefix = schedulerKeys(settings).prefix;
  }

  /** The contexts of a tenant that have a schedule here. */
  async contexts(tenantId: TenantId): Promise<string[]> {
    return await this.#redis.smembers(this.#contextsKey(tenantId));
  }

  /**
   * Lets a context fire by this schedule from now on. One that has it already is left alone: putting it in its place anew would take away a firing that is
   * due and has not been taken yet.
   *
   * @returns whether something was changed.
   */
  async keep(tenantId: TenantId, context: string, { cron, timezone }: Schedule): Promise<boolean> {
    const id = schedulerId(tenantId, context);
    await this.#redis.sadd(this.#contextsKey(tenantId), context);
    const present = await this.#queue.getJobScheduler(id);
    const same = present?.pattern === cron && present.tz === timezone;
    if (same && !(await this.#isBroken(id, present.next))) return false;
    await this.#queue.upsertJobScheduler(
      id,
      { pattern: cron, tz: timezone },
      { name: 'firing', data: { tenantId, context }, opts: firingOptions },
    );
    return true;
  }

  async drop(tenantId: TenantId, context: string): Promise<void> {
    await this.#queue.removeJobScheduler(schedulerId(tenantId, context));
    await this.#redis.srem(this.#contextsKey(tenantId), context);
    await this.#redis.hdel(this.#publishedKey(tenantId), context);
  }

  /** The tenant is not served any more. */
  async dropAll(tenantId: TenantId): Promise<void> {
    for (const context of await this.contexts(tenantId)) await this.drop(tenantId, context);
  }

  /** The id of the last run that was published for a context. */
  async lastPublished(tenantId: TenantId, context: string): Promise<string | null> {
    return await this.#redis.hget(this.#publishedKey(tenantId), context);
  }

  async rememberPublished(tenantId: TenantId, context: string, jobId: string): Promise<void> {
    await this.#redis.hset(this.#publishedKey(tenantId), context, jobId);
  }

  async close(): Promise<void> {
    await this.#queue.close();
  }

  /** Whether what comes next is in the past and nowhere to be found: somebody has removed it by hand, or Redis has lost it. */
  async #isBroken(id: string, next: number | undefined): Promise<boolean> {
    if (next === undefined) return true;
    if (next > Date.now() || (await this.#queue.getJob(`repeat:${id}:${next}`))) return false;
    // Or it was taken between the two looks.
    return (await this.#queue.getJobScheduler(id))?.next === next;
  }

  #contextsKey(tenantId: TenantId): string {
    return `${this.#prefix}:contexts:${tenantId}`;
  }

  #publishedKey(tenantId: TenantId): string {
    return `${this.#prefix}:published:${tenantId}`;
  }
}

/** A colon is in no tenant's id and in no context's name. */
function schedulerId(tenantId: TenantId, context: string): string {
  return `${tenantId}:${context}`;
}
