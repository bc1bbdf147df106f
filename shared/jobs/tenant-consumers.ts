import { errorMessage } from '../errors.ts';
import type { TenantDirectory } from '../tenancy/directory.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { type ConsumerParts, TenantConsumer } from './tenant-consumer.ts';

/** The consumers of all active tenants, kept in step with the directory. Starts and stops of one tenant follow each other, never at once. */
export class TenantConsumers {
  readonly #parts: ConsumerParts;
  readonly #directory: TenantDirectory;
  readonly #consumers = new Map<TenantId, TenantConsumer>();
  /** What is under way for a tenant; the next change waits for it. */
  readonly #changes = new Map<TenantId, Promise<void>>();
  readonly #drainMs: number;
  #stopped = false;

  constructor(parts: ConsumerParts, directory: TenantDirectory, drainMs: number) {
    this.#parts = parts;
    this.#directory = directory;
    this.#drainMs = drainMs;
    directory.on('added', (tenantId) => this.#change(tenantId));
    directory.on('removed', (tenantId) => this.#change(tenantId));
  }

  get(tenantId: TenantId): TenantConsumer | undefined {
    return this.#consumers.get(tenantId);
  }

  /** How many tenants should be consumed, and how many are. */
  get state(): { active: number; consuming: number } {
    const all = [...this.#consumers.values()];
    return { active: this.#directory.active.size, consuming: all.filter((consumer) => consumer.consuming).length };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const tenantId of this.#consumers.keys()) this.#change(tenantId);
    await Promise.all(this.#changes.values());
  }

  /** Brings one tenant to where it should be, once what is under way for it has ended. What it should be is asked then, not now. */
  #change(tenantId: TenantId): void {
    const before = this.#changes.get(tenantId) ?? Promise.resolve();
    const change = before
      .then(() => this.#bringInStep(tenantId))
      .catch((error) =>
        this.#parts.log.error({ tenantId, reason: errorMessage(error) }, 'a tenant could not be changed'),
      )
      .finally(() => {
        if (this.#changes.get(tenantId) === change) this.#changes.delete(tenantId);
      });
    this.#changes.set(tenantId, change);
  }

  async #bringInStep(tenantId: TenantId): Promise<void> {
    const wanted = !this.#stopped && this.#directory.active.has(tenantId);
    const consumer = this.#consumers.get(tenantId);
    if (wanted && !consumer) {
      const started = new TenantConsumer(tenantId, this.#parts);
      this.#consumers.set(tenantId, started);
      started.start();
    } else if (!wanted && consumer) {
      await consumer.stop(this.#drainMs);
      this.#consumers.delete(tenantId);
      await this.#parts.pools.retire(tenantId);
      this.#parts.log.info({ tenantId }, 'stopped consuming');
    }
  }
}
