import type { TenantId } from '../tenancy/tenant-id.ts';

export interface FairSlotsOptions {
  /** Jobs that the process works on at the same time. */
  total: number;
  /** How many of these one tenant may have. Fewer than all, so that whoever comes next need not wait for the end of another's job. */
  perTenant: number;
}

/** Who asks for a slot. */
export interface SlotUser {
  tenantId: TenantId;
  /** The tenant's share, where several wait. */
  weight: number;
}

interface Party {
  held: number;
  readonly waiting: (() => void)[];
  weight: number;
  /** Its place in the order of turns: grows by 1 / weight with every slot that it gets. */
  turn: number;
}

/**
 * The job slots of a process. Where several tenants wait they get one in turn, by their weights (start-time fair queueing, Goyal et al. 1996); within a
 * tenant, first come first served.
 */
export class FairSlots {
  readonly total: number;
  readonly perTenant: number;
  /** Those who hold a slot or wait for one. */
  readonly #parties = new Map<TenantId, Party>();
  #used = 0;
  /** The turn of whoever was served last: a newcomer is as good as that one, and has nothing saved up. */
  #clock = 0;
  /** Somebody wants to be alone: nobody else begins. */
  #closed = false;
  #left: (() => void) | undefined;

  constructor({ total, perTenant }: FairSlotsOptions) {
    this.total = total;
    this.perTenant = perTenant;
  }

  get used(): number {
    return this.#used;
  }

  /** @returns the function that gives the slot back; undefined when there is none right now. */
  take({ tenantId, weight }: SlotUser): (() => void) | undefined {
    const party = this.#partyOf(tenantId, weight);
    if (party.waiting.length > 0 || !this.#canServe(party)) {
      this.#forget(tenantId, party);
      return undefined;
    }
    this.#give(party);
    return this.#release(tenantId, party);
  }

  /**
   * Waits for a slot.
   *
   * @returns the function that gives it back.
   * @throws the signal's reason when it is aborted first.
   */
  async acquire(user: SlotUser, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const now = this.take(user);
    if (now) return now;
    const { tenantId, weight } = user;
    const party = this.#partyOf(tenantId, weight);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    party.waiting.push(resolve);
    const abort = () => {
      const index = party.waiting.indexOf(resolve);
      if (index < 0) return; // the slot was handed over in the same turn
      party.waiting.splice(index, 1);
      this.#forget(tenantId, party);
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    await promise.finally(() => signal.removeEventListener('abort', abort));
    return this.#release(tenantId, party);
  }

  /**
   * Waits until the caller, who has a slot, is the only one who has one; nobody begins meanwhile.
   *
   * @returns the function that lets others in again; undefined when the others have not left after `waitMs`, or somebody else is alone.
   * @throws the signal's reason when it is aborted first.
   */
  async alone(waitMs: number, signal: AbortSignal): Promise<(() => void) | undefined> {
    if (this.#closed) return undefined;
    this.#closed = true;
    const open = () => {
      this.#closed = false;
      this.#left = undefined;
      this.#serve();
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    signal.addEventListener('abort', () => resolve(), { once: true });
    this.#left = () => {
      if (this.#used <= 1) resolve();
    };
    this.#left();
    await promise;
    clearTimeout(timer);
    if (this.#used <= 1 && !signal.aborted) return open;
    open();
    signal.throwIfAborted();
    return undefined;
  }

  #partyOf(tenantId: TenantId, weight: number): Party {
    const party = this.#parties.get(tenantId) ?? { held: 0, waiting: [], weight, turn: this.#clock };
    party.weight = weight;
    this.#parties.set(tenantId, party);
    return party;
  }

  #canServe({ held }: Party): boolean {
    return !this.#closed && this.#used < this.total && held < this.perTenant;
  }

  #give(party: Party): void {
    this.#clock = Math.max(this.#clock, party.turn);
    party.turn = this.#clock + 1 / party.weight;
    party.held++;
    this.#used++;
  }

  #release(tenantId: TenantId, party: Party): () => void {
    let given = false;
    return () => {
      if (given) return;
      given = true;
      party.held--;
      this.#used--;
      this.#forget(tenantId, party);
      this.#left?.();
      this.#serve();
    };
  }

  /** Gives what is free to those who wait. */
  #serve(): void {
    for (;;) {
      let next: Party | undefined;
      for (const party of this.#parties.values()) {
        if (party.waiting.length === 0 || !this.#canServe(party)) continue;
        if (!next || party.turn < next.turn) next = party;
      }
      if (!next) return;
      this.#give(next);
      next.waiting.shift()?.();
    }
  }

  #forget(tenantId: TenantId, { held, waiting }: Party): void {
    if (held === 0 && waiting.length === 0) this.#parties.delete(tenantId);
  }
}
