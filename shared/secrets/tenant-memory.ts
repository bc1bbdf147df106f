import { LRUCache } from 'lru-cache';
import type { TenantId } from '../tenancy/tenant-id.ts';

/** Tenants remembered at most; the least recently used one is forgotten. */
const maxTenants = 10_000;

export interface Remembered<V> {
  value: V;
  /** When it ends, in milliseconds of the memory's clock. */
  until: number;
}

export interface TenantMemoryOptions {
  /** Milliseconds from any origin, never going back. */
  now: () => number;
  /** How long (milliseconds) a failure is the answer to whoever asks next; 0 for one that says nothing lasting. */
  keepFailure: (error: unknown) => number;
}

type Entry<V> = ({ value: V } | { failure: unknown }) & { until: number };

interface Flight<V> {
  readonly promise: Promise<V>;
  readonly renewing: boolean;
}

/**
 * One value per tenant, each with its own end, and one loading at a time per tenant however many ask. A loading belongs to no
 * caller: whoever gives up stops waiting, and the others and the next ones have its result.
 */
export class TenantMemory<V> {
  readonly #entries = new LRUCache<TenantId, Entry<V>>({ max: maxTenants });
  readonly #flights = new Map<TenantId, Flight<V>>();
  readonly #options: TenantMemoryOptions;

  constructor(options: TenantMemoryOptions) {
    this.#options = options;
  }

  /** The remembered value, else what `load` gives. Throws what `load` throws, or the signal's reason. */
  async get(tenantId: TenantId, load: () => Promise<Remembered<V>>, signal?: AbortSignal): Promise<V> {
    signal?.throwIfAborted();
    const entry = this.#entry(tenantId);
    if (entry) return answerOf(entry);
    const flight = this.#flights.get(tenantId) ?? this.#load(tenantId, load, false);
    return unlessAborted(flight.promise, signal);
  }

  /**
   * A value other than one that turned out to be wrong. When another caller has already renewed it, that is the answer, so that a
   * hundred refused calls cost one loading; a loading that began before the refusal is not waited for, since it may bring the wrong
   * value again.
   */
  async renew(
    tenantId: TenantId,
    isWrong: (value: V) => boolean,
    load: () => Promise<Remembered<V>>,
    signal?: AbortSignal,
  ): Promise<V> {
    signal?.throwIfAborted();
    const entry = this.#entry(tenantId);
    if (entry && !('value' in entry && isWrong(entry.value))) return answerOf(entry);
    this.#entries.delete(tenantId);
    const current = this.#flights.get(tenantId);
    const flight = current?.renewing ? current : this.#load(tenantId, load, true);
    return unlessAborted(flight.promise, signal);
  }

  #entry(tenantId: TenantId): Entry<V> | undefined {
    const entry = this.#entries.get(tenantId);
    if (entry && entry.until > this.#options.now()) return entry;
    if (entry) this.#entries.delete(tenantId);
    return undefined;
  }

  #load(tenantId: TenantId, load: () => Promise<Remembered<V>>, renewing: boolean): Flight<V> {
    const { now, keepFailure } = this.#options;
    // One that was overtaken by a renewal has nothing to say any more to anybody but those who wait for it.
    const end = (entry: Entry<V>) => {
      if (this.#flights.get(tenantId) !== flight) return;
      this.#flights.delete(tenantId);
      if (entry.until > now()) this.#entries.set(tenantId, entry);
    };
    const promise = load().then(
      (loaded) => {
        end(loaded);
        return loaded.value;
      },
      (failure) => {
        end({ failure, until: now() + keepFailure(failure) });
        throw failure;
      },
    );
    // All who waited may have given up.
    promise.catch(() => {});
    const flight = { promise, renewing };
    this.#flights.set(tenantId, flight);
    return flight;
  }
}

function answerOf<V>(entry: Entry<V>): V {
  if ('failure' in entry) throw entry.failure;
  return entry.value;
}

async function unlessAborted<V>(promise: Promise<V>, signal: AbortSignal | undefined): Promise<V> {
  if (!signal) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
