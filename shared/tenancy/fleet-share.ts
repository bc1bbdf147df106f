import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { errorMessage } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { homeAmong } from './homes.ts';
import type { TenantId } from './tenant-id.ts';

/** What a process says of itself to the others of its kind. */
export interface FleetMember {
  /** Unique: another start of the same worker is another process. */
  id: string;
  /** Sorted. */
  jobs: string[];
  /** Whether tenants can be left to it: it knows which there are, and is not stopping. */
  eligible: boolean;
  /** Whether it consumes all that it should. */
  settled: boolean;
  /** Tenants that send it more than it has room for. */
  busy: string[];
}

/** In ms. */
export interface FleetTiming {
  /** Between two looks at the others. */
  look: number;
  /** How long a process is believed to be there after it has last said so. */
  believed: number;
  /** How long the first look may take. */
  first: number;
  /** How long those last seen are counted on when they can't be looked at. */
  memory: number;
  /** How long a tenant that is not this process's any more is consumed on, after its last job here. */
  linger: number;
  /** The same, when the others have yet to catch up with what is theirs. */
  patience: number;
}

export const fleetTiming: FleetTiming = {
  look: 1000,
  believed: 15_000,
  first: 2000,
  memory: 60_000,
  linger: 30_000,
  patience: 120_000,
};

interface FleetShareOptions {
  self: { id: string; jobs: readonly string[] };
  /** How this process is now. */
  own(): Pick<FleetMember, 'eligible' | 'settled' | 'busy'>;
  /** Tells the others of the same kind how this process is, and reads how they are, itself included. Throws when that is not possible now. */
  exchange(own: FleetMember): Promise<FleetMember[]>;
  /** The tenants that are active now. */
  active: ReadonlySet<TenantId>;
  /** Up to so many tenants, every process consumes all of them. */
  limit: number;
  timing: FleetTiming;
  log: Logger;
}

const firstPause = 50;

/**
 * Which tenants this process consumes: of more than it could open pools for, those whose home it is among the processes that are there and do the same
 * jobs. In doubt it consumes more: that costs connections, and the opposite would leave jobs lying. So whoever does not see the others takes itself for
 * the only one, and each process counts itself in, whatever the others know of it.
 */
export class FleetShare extends EventEmitter<{ looked: [] }> {
  readonly #options: FleetShareOptions;
  readonly #jobs: string[];
  readonly #stopped = new AbortController();
  /** The others, as they were last seen; undefined when that is not known. */
  #others: FleetMember[] | undefined;
  #isHome = homeAmong('', []);
  #called: ReadonlySet<string> = new Set();
  #known = false;
  #seenAt = 0;
  #missedAt = Number.NEGATIVE_INFINITY;

  constructor(options: FleetShareOptions) {
    super();
    this.#options = options;
    this.#jobs = options.self.jobs.toSorted();
  }

  /** Whether the others were looked for at least once, in vain or not. */
  get known(): boolean {
    return this.#known;
  }

  /** Whether the others consume all that is theirs. */
  get settled(): boolean {
    return (this.#others ?? []).every(({ eligible, settled }) => settled || !eligible);
  }

  /** Whether no other process that does the same jobs is seen. */
  get isAlone(): boolean {
    return (this.#others ?? []).length === 0;
  }

  get timing(): FleetTiming {
    return this.#options.timing;
  }

  /** Whether the tenant is this process's to consume. */
  has(tenantId: TenantId): boolean {
    const { active, limit } = this.#options;
    if (active.size <= limit) return true;
    return this.#others === undefined ? this.#known : this.#isHome(tenantId);
  }

  /** Whether another process has more of this tenant than it has room for. */
  callsForHelp(tenantId: TenantId): boolean {
    return this.#called.has(tenantId);
  }

  /** Looks at the others from now on, and is seen by them. `looked` is told after every look. */
  start(): void {
    void this.#keepLooking();
  }

  /** Tells the others that they can't count on this process any more. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    try {
      await this.#options.exchange(this.#own({ eligible: false, settled: true, busy: [] }));
    } catch (error) {
      this.#options.log.debug({ reason: errorMessage(error) }, 'the other processes could not be told of the stop');
    }
  }

  async #keepLooking(): Promise<void> {
    const { signal } = this.#stopped;
    const { timing } = this.#options;
    const began = performance.now();
    while (!signal.aborted) {
      const seen = await this.#look();
      if (signal.aborted) return;
      this.#known ||= seen || performance.now() - began >= timing.first;
      if (this.#known) this.emit('looked');
      await delay(this.#known ? timing.look : firstPause, undefined, { signal }).catch(() => {});
    }
  }

  /** @returns whether the others could be seen. */
  async #look(): Promise<boolean> {
    const { exchange, own, log, timing } = this.#options;
    try {
      this.#take(await exchange(this.#own(own())));
      return true;
    } catch (error) {
      log.debug({ reason: errorMessage(error) }, 'the other processes cannot be seen');
    }
    this.#missedAt = performance.now();
    if (this.#others && this.#missedAt - this.#seenAt >= timing.memory) {
      this.#others = undefined;
      this.#called = new Set();
      log.warn('the other processes cannot be seen for a while: this one serves every tenant');
    }
    return false;
  }

  #take(members: FleetMember[]): void {
    const { self, timing, log } = this.#options;
    const before = this.#others;
    const others = members.filter(({ id, jobs }) => id !== self.id && jobs.join() === this.#jobs.join());
    this.#seenAt = performance.now();
    // When Redis comes back, perhaps empty, the others need time to be seen again.
    if (before && this.#seenAt - this.#missedAt < timing.believed) {
      const seen = new Set(others.map(({ id }) => id));
      others.push(...before.filter(({ id }) => !seen.has(id)));
    }
    this.#others = others;
    this.#called = new Set(others.flatMap(({ busy }) => busy));
    const counted = (of: FleetMember[]) => of.filter(({ eligible }) => eligible).map(({ id }) => id);
    const now = counted(others);
    this.#isHome = homeAmong(self.id, now);
    if (!before || counted(before).toSorted().join() !== now.toSorted().join())
      log.info({ processes: now.length + 1 }, 'the processes that share the tenants are others now');
  }

  #own(state: Pick<FleetMember, 'eligible' | 'settled' | 'busy'>): FleetMember {
    // Before it has looked at the others, it consumes nothing yet.
    const eligible = state.eligible && this.#known;
    return { ...state, id: this.#options.self.id, jobs: this.#jobs, eligible };
  }
}
