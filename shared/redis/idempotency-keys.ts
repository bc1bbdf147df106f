import { createHash } from 'node:crypto';
import { errorMessage } from '../errors.ts';
import { jobId } from '../jobs/contracts/bodies.ts';
import type { Logger } from '../observability/log.ts';
import type { TenantRedis } from './tenant-redis.ts';

/** How long (ms) a job waits for Redis to answer, and how long Redis is not asked again after it gave no answer. */
const patience = 200;
const rest = 5000;

/** A publisher's name for a request, among the jobs of one type. */
export interface KeyOfType {
  type: string;
  idempotencyKey: string;
}

/**
 * Which job succeeded with which idempotency key: under `idempotency:{type}:{SHA-256 of the key}` in the tenant's key space, the job's id. It spares the tenant's
 * database the refusal of a duplicate, which would take the other claims of its batch with it. The database's own uniqueness stands behind it, so that nothing
 * here fails or takes long: when Redis is away or slow, it knows of no job, and for a few seconds it isn't asked. One for the process.
 */
export class IdempotencyKeys {
  readonly #ttlSec: number;
  readonly #log: Logger;
  /** When (monotonic, ms) Redis may be asked again. */
  #restsUntil = 0;

  /** @param hours how long a key is remembered. */
  constructor(hours: number, log: Logger) {
    this.#ttlSec = hours * 3600;
    this.#log = log;
  }

  /** @returns the id of the job that succeeded with the key, as far as Redis says so at once. Never rejects. */
  async holder(redis: TenantRedis, key: KeyOfType): Promise<string | undefined> {
    const answer = await this.#inTime(() => redis.get(nameOf(key)));
    return jobId.safeParse(answer).data;
  }

  /** A job has succeeded with the key. Never rejects. */
  async remember(redis: TenantRedis, key: KeyOfType, id: string): Promise<void> {
    await this.#inTime(() => redis.set(nameOf(key), id, this.#ttlSec));
  }

  async #inTime<T>(call: () => Promise<T>): Promise<T | undefined> {
    if (performance.now() < this.#restsUntil) return undefined;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`no answer in ${patience} ms`)), patience);
    try {
      return await Promise.race([call(), late.promise]);
    } catch (error) {
      this.#restsUntil = performance.now() + rest;
      this.#log.warn({ reason: errorMessage(error) }, 'idempotency keys are left to the databases for now');
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}

function nameOf({ type, idempotencyKey }: KeyOfType): string {
  return `idempotency:${type}:${createHash('sha256').update(idempotencyKey).digest('hex')}`;
}
