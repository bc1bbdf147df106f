import { errorMessage, type MatcherError } from '../errors.ts';
import { IdempotencyKeys } from '../redis/idempotency-keys.ts';
import type { TenantDirectory } from '../tenancy/directory.ts';
import type { FleetShare } from '../tenancy/fleet-share.ts';
import type { Configured } from '../tenancy/refresh.ts';
import { visitSpread } from '../tenancy/spread.ts';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { type ConsumerParts, type ConsumerState, TenantConsumer } from './tenant-consumer.ts';

/** How long (ms) a tenant is left alone whose broker sends nothing, whatever is renewed here. */
const deafRest = 60_000;

/** Tenants that help is called for at the same time; where more have too much to do, there is nobody left who could help. */
const busyAtMost = 20;

export interface ConsumersParts extends Omit<ConsumerParts, 'isAlone' | 'keys'> {
  /** Called when the process can do nothing for anybody any more. */
  deaf(error: MatcherError): void;
}

/**
 * The consumers of the active tenants that are this process's, kept in step with the directory and with the share that the process has in its fleet.
 * Starts and stops of one tenant follow each other, never at once.
 */
export class TenantConsumers implements Configured {
  readonly #parts: ConsumersParts;
  readonly #directory: TenantDirectory;
  readonly #consumers = new Map<TenantId, TenantConsumer>();
  /** What is under way for a tenant; the next change waits for it. */
  readonly #changes = new Map<TenantId, Promise<void>>();
  readonly #keys: IdempotencyKeys;
  readonly #drainMs: number;
  readonly #share: FleetShare | undefined;
  /** Those consumed though they are not this process's, and since when (monotonic, ms) nothing of theirs is in hand. */
  readonly #loose = new Map<TenantId, number>();
  /** Those that had more than there was room for at the last look. */
  #pressed: ReadonlySet<TenantId> = new Set();
  #busy: readonly TenantId[] = [];
  /** Those whose consumer was deaf for good, until they are tried again. */
  readonly #resting = new Map<TenantId, NodeJS.Timeout>();
  readonly #stopWatching: () => void;
  #stopped = false;
  /** Whoever comes after the first list comes while others are at work. */
  #settled = false;

  /** @param share without one, every tenant is this process's. */
  constructor(parts: ConsumersParts, directory: TenantDirectory, drainMs: number, share?: FleetShare) {
    this.#parts = parts;
    this.#directory = directory;
    this.#keys = new IdempotencyKeys(parts.run.keyHours, parts.log);
    this.#drainMs = drainMs;
    this.#share = share;
    directory.on('added', (tenantId) => this.#change(tenantId, this.#settled));
    directory.on('removed', (tenantId) => this.#change(tenantId));
    share?.on('looked', () => this.#look());
    directory.on('compared', () => {
      this.#settled ||= directory.known;
    });
    this.#stopWatching = visitSpread(
      parts.settings.MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC * 1000,
      () => this.#consumers.keys(),
      (tenantId) => this.#watch(tenantId),
    );
  }

  get(tenantId: TenantId): TenantConsumer | undefined {
    return this.#consumers.get(tenantId);
  }

  /** Those that are to be consumed, whether or not their broker can be reached now. */
  tenants(): Iterable<TenantId> {
    return this.#consumers.keys();
  }

  /**
   * `active`: the tenants of the directory. `share`: those of them that are to be consumed here; all, as long as that is not known. `consuming`:
   * those that are consumed.
   */
  get state(): { active: number; share: number; consuming: number } {
    const active = this.#directory.active.size;
    let consuming = 0;
    let share = 0;
    for (const [tenantId, consumer] of this.#consumers) {
      if (consumer.consuming) consuming++;
      if (this.#isOurs(tenantId)) share++;
    }
    return { active, share: this.#share?.known === false ? active : share, consuming };
  }

  /** `share`: whether the tenant is to be consumed here, as against one that something is left to be done for. */
  stateOf(tenantId: TenantId): (ConsumerState & { share: boolean }) | undefined {
    const consumer = this.#consumers.get(tenantId);
    return consumer && { ...consumer.state, share: this.#isOurs(tenantId) };
  }

  /** Whether everything is consumed that is to be consumed here. */
  get settled(): boolean {
    return this.#consumers.entries().every(([tenantId, { settled }]) => settled || !this.#isOurs(tenantId));
  }

  /** Tenants that send more than there is room for here, so that other processes should help. */
  get busy(): readonly TenantId[] {
    return this.#busy;
  }

  refresh({ tenantId, rabbitmq }: TenantConfig): void {
    this.#consumers
      .get(tenantId)
      ?.refresh(rabbitmq)
      .catch((error) =>
        this.#parts.log.error({ tenantId, err: error }, 'a tenant’s connection could not be refreshed'),
      );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopWatching();
    for (const timer of this.#resting.values()) clearTimeout(timer);
    for (const tenantId of this.#consumers.keys()) this.#change(tenantId);
    await Promise.all(this.#changes.values());
  }

  #watch(tenantId: TenantId): void {
    this.#consumers
      .get(tenantId)
      ?.watch()
      .catch((error) => this.#parts.log.warn({ tenantId, reason: errorMessage(error) }, 'a consumer can’t be renewed'));
  }

  /** The processes of the fleet were looked at: takes what is this process's now, and lets go of what is others' and at rest. */
  #look(): void {
    const now = performance.now();
    const pressed = new Set<TenantId>();
    for (const [tenantId, consumer] of this.#consumers) {
      if (consumer.pressed) pressed.add(tenantId);
      if (this.#isOurs(tenantId)) this.#loose.delete(tenantId);
      else if (consumer.inHand > 0 || !this.#loose.has(tenantId)) this.#loose.set(tenantId, now);
      if (!this.#wants(tenantId) && !this.#changes.has(tenantId)) this.#change(tenantId);
    }
    // Twice in a row: a burst that is over in a second needs no help.
    this.#busy = [...pressed].filter((tenantId) => this.#pressed.has(tenantId)).slice(0, busyAtMost);
    this.#pressed = pressed;
    for (const tenantId of this.#directory.active) {
      if (this.#consumers.has(tenantId) || this.#changes.has(tenantId)) continue;
      if (this.#wants(tenantId)) this.#change(tenantId);
    }
  }

  #wants(tenantId: TenantId): boolean {
    if (this.#stopped || this.#resting.has(tenantId)) return false;
    return this.#isOurs(tenantId) || this.#lingers(tenantId);
  }

  /** Its own, or one that other processes call for help with. */
  #isOurs(tenantId: TenantId): boolean {
    if (!this.#directory.active.has(tenantId)) return false;
    const share = this.#share;
    if (!share || share.has(tenantId)) return true;
    const { slots } = this.#parts;
    return share.callsForHelp(tenantId) && (this.#consumers.has(tenantId) || slots.used < slots.total);
  }

  /** Whether a tenant that belongs to others is to be consumed for a while still, so that there is never a moment without a consumer. */
  #lingers(tenantId: TenantId): boolean {
    const consumer = this.#consumers.get(tenantId);
    if (!this.#share || !consumer || !this.#directory.active.has(tenantId)) return false;
    if (!consumer.consuming && consumer.inHand === 0) return false;
    const { settled, timing } = this.#share;
    const atRest = performance.now() - (this.#loose.get(tenantId) ?? performance.now());
    return atRest < (settled ? timing.linger : timing.patience);
  }

  /** One tenant's broker that sends nothing is no reason to end what is done for others; where there are none, a new process begins anew. */
  #giveUp(tenantId: TenantId, error: MatcherError): void {
    const others = this.#consumers.entries().some(([id, { consuming }]) => id !== tenantId && consuming);
    if (!others) {
      this.#parts.deaf(error);
      return;
    }
    this.#parts.log.error({ tenantId, err: error, seconds: deafRest / 1000 }, 'left alone for now');
    const again = () => {
      this.#resting.delete(tenantId);
      this.#change(tenantId);
    };
    this.#resting.set(tenantId, setTimeout(again, deafRest).unref());
    this.#change(tenantId);
  }

  /** Brings one tenant to where it should be, once what is under way for it has ended. What it should be is asked then, not now. */
  #change(tenantId: TenantId, isNewcomer = false): void {
    const before = this.#changes.get(tenantId) ?? Promise.resolve();
    const change = before
      .then(() => this.#bringInStep(tenantId, isNewcomer))
      .catch((error) =>
        this.#parts.log.error({ tenantId, reason: errorMessage(error) }, 'a tenant could not be changed'),
      )
      .finally(() => {
        if (this.#changes.get(tenantId) === change) this.#changes.delete(tenantId);
      });
    this.#changes.set(tenantId, change);
  }

  async #bringInStep(tenantId: TenantId, newcomer: boolean): Promise<void> {
    const wanted = this.#wants(tenantId);
    const consumer = this.#consumers.get(tenantId);
    if (wanted && !consumer) {
      const configRefused = (code: string) => this.#directory.refuse(tenantId, code);
      const parts = { ...this.#parts, keys: this.#keys, isAlone: () => this.#share?.isAlone ?? true };
      const deaf = (error: MatcherError) => this.#giveUp(tenantId, error);
      const started = new TenantConsumer(tenantId, parts, { newcomer, configRefused, deaf });
      this.#consumers.set(tenantId, started);
      started.start();
    }
    if (wanted) return;
    if (consumer) {
      await consumer.stop(this.#drainMs);
      this.#consumers.delete(tenantId);
      this.#loose.delete(tenantId);
    }
    // What was only left to other processes may come back soon: its pool is closed when it has been idle for long enough.
    const left = !this.#stopped && this.#directory.active.has(tenantId);
    if (!left) await this.#parts.pools.retire(tenantId);
    if (consumer) this.#parts.log.info({ tenantId }, left ? 'left to other processes' : 'stopped consuming');
  }
}
