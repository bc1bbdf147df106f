import type { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';

/**
 * Processes that each keep a few words about themselves in the fleet's Redis (REDIS_HOST), outside the tenants' key spaces, under a key that vanishes by
 * itself. An index instead of a scan finds them: the same Redis holds every tenant's keys. All times are the Redis server's, so that no process whose
 * clock is wrong makes another one vanish.
 */
export class Presence {
  readonly #redis: Redis;
  readonly #index: string;
  readonly #believedMs: number;
  readonly #indexMemoryMs: number;

  /**
   * @param path what the processes have in common; no part of it can reach into the keys of another one.
   * @param believedMs how long what a process says is kept.
   * @param indexMemoryMs how long the id of a process that has died without a word is kept; longer than `believedMs`.
   */
  constructor(
    redis: Redis,
    { MULTI_TENANT_ENVIRONMENT: environment }: Settings,
    path: readonly [name: string, ...string[]],
    { believedMs, indexMemoryMs }: { believedMs: number; indexMemoryMs: number },
  ) {
    const [name, ...rest] = path;
    this.#redis = redis;
    this.#index = ['matcher', name, environment ?? 'default', ...rest].map(encodeURIComponent).join(':');
    this.#believedMs = believedMs;
    this.#indexMemoryMs = indexMemoryMs;
  }

  /** @throws what Redis does. */
  async say(id: string, text: string): Promise<void> {
    const [seconds] = await this.#redis.time();
    const now = Number(seconds) * 1000;
    await this.#redis
      .multi()
      .set(this.#keyOf(id), text, 'PX', this.#believedMs)
      .zadd(this.#index, now, id)
      .zremrangebyscore(this.#index, '-inf', now - this.#indexMemoryMs)
      .pexpire(this.#index, this.#indexMemoryMs)
      .exec();
  }

  /** @throws what Redis does. */
  async leave(id: string): Promise<void> {
    await this.#redis.multi().del(this.#keyOf(id)).zrem(this.#index, id).exec();
  }

  /** What each has said last, of those that are believed to be there. Throws what Redis does. */
  async read(): Promise<string[]> {
    const ids = await this.#redis.zrange(this.#index, 0, '-1');
    const texts = ids.length === 0 ? [] : await this.#redis.mget(ids.map((id) => this.#keyOf(id)));
    return texts.filter((text) => text !== null);
  }

  #keyOf(id: string): string {
    return `${this.#index}:${id}`;
  }
}
