import { MatcherError } from '../errors.ts';
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

interface Waiting {
  give(): void;
  /** When (monotonic, ms) it is waited no longer. */
  until: number;
  giveUp(): void;
}

interface Party {
  held: number;
  readonly waiting: Waiting[];
  weight: number;
  /** Its place in the order of turns: grows by 1 / weight with every slot that it gets. */
  turn: number;
}

/** How long (ms) others may wait for the end of one tenant's turn. */
const longestTurn = 50;

/** How often (ms) it is looked whose patience is at its end. */
const lookInterval = 500;

/**
 * The job slots of a process. Where several tenants wait they get them in turn, by their weights (start-time fair queueing, Goyal et al. 1996); within a
 * tenant, first come first served. A turn is a few slots, not one, where these come free quickly: jobs of one tenant that are at work together are claimed and
 * ended together.
 */
export class FairSlots {
  readonly total: number;
  readonly perTenant: number;
  /** Those who hold a slot or wait for one. */
  readonly #parties = new Map<TenantId, Party>();
  #used = 0;
  /** The turn of whoever was served last: a newcomer is as good as that one, and has nothing saved up. */
  #clock = 0;
  /** Whose turn it is, and how many slots it still has in it. */
  #current: Party | undefined;
  #left = 0;
  /** When (monotonic, ms) the turn is over, however many slots are left in it. */
  #turnEnds = 0;
  readonly #turnLength: number;
  #looking: NodeJS.Timeout | undefined;
  /** Somebody wants to be alone: nobody else begins. */
  #closed = false;
  #leaves: (() => void) | undefined;

  constructor({ total, perTenant }: FairSlotsOptions) {
    this.total = total;
    this.perTenant = perTenant;
    this.#turnLength = Math.max(1, Math.floor(total / 2));
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
   * @param patienceMs how long, about.
   * @returns the function that gives it back.
   * @throws MatcherError `SLOTS_BUSY` when that is over; the signal's reason when it is aborted first.
   */
  async acquire(user: SlotUser, signal: AbortSignal, patienceMs = Number.POSITIVE_INFINITY): Promise<() => void> {
    signal.throwIfAborted();
    const now = this.take(user);
    if (now) return now;
    const { tenantId, weight } = user;
    const party = this.#partyOf(tenantId, weight);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (reason: unknown) => {
      const index = party.waiting.indexOf(waiting);
      if (index < 0) return; // the slot was handed over in the same turn
      party.waiting.splice(index, 1);
      this.#forget(tenantId, party);
      reject(reason);
    };
    const waiting: Waiting = {
      give: resolve,
      until: performance.now() + patienceMs,
      giveUp: () => leave(slotsBusy()),
    };
    party.waiting.push(waiting);
    this.#lookAfter();
    const abort = () => leave(signal.reason);
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
      this.#leaves = undefined;
      this.#serve();
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    const abort = () => resolve();
    signal.addEventListener('abort', abort, { once: true });
    this.#leaves = () => {
      if (this.#used <= 1) resolve();
    };
    this.#leaves();
    await promise;
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
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
      this.#leaves?.();
      this.#serve();
    };
  }

  /** Gives what is free to those who wait. */
  #serve(): void {
    for (;;) {
      const next = this.#next();
      if (!next) return;
      this.#left--;
      this.#give(next);
      next.waiting.shift()?.give();
    }
  }

  #next(): Party | undefined {
    const wants = (party: Party) => party.waiting.length > 0 && this.#canServe(party);
    const now = performance.now();
    if (this.#current && this.#left > 0 && now < this.#turnEnds && wants(this.#current)) return this.#current;
    let next: Party | undefined;
    for (const party of this.#parties.values()) {
      if (wants(party) && (!next || party.turn < next.turn)) next = party;
    }
    // Nobody can be served now: the turn goes on with the next slot that comes free.
    if (!next) return undefined;
    this.#current = next;
    this.#left = this.#turnLength;
    this.#turnEnds = now + longestTurn;
    return next;
  }

  /** One timer for all who wait. */
  #lookAfter(): void {
    this.#looking ??= setTimeout(() => {
      this.#looking = undefined;
      const now = performance.now();
      for (const { waiting } of this.#parties.values()) {
        for (const one of waiting.filter(({ until }) => until <= now)) one.giveUp();
      }
      if (this.#parties.values().some(({ waiting }) => waiting.length > 0)) this.#lookAfter();
    }, lookInterval).unref();
  }

  #forget(tenantId: TenantId, { held, waiting }: Party): void {
    if (held === 0 && waiting.length === 0) this.#parties.delete(tenantId);
  }
}

function slotsBusy(): MatcherError {
  return new MatcherError('SLOTS_BUSY', 'All slots for this tenant’s jobs are taken', { remedy: 'not-now' });
}
