import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, MatcherError } from '@matcher/shared/errors.ts';
import type { OpenedPool } from '@matcher/shared/postgres/open-pool.ts';
import { type PoolLease, TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { testLog } from '../../support/test-log.ts';

/**
 * Random histories of a fleet's pools against what must always be true, with time and the database's part in the model's hands: an opening or a closing
 * ends when the history says so.
 */

const tenants = ['a', 'b', 'c', 'd'] as TenantId[];
const maxWaitMs = 10_000;
const idleMs = 60_000;

/** A pool that exists as far as the database server is concerned: from the beginning of its opening to the end of its closing. */
interface FakePool {
  tenantId: TenantId;
  version: number;
  state: 'opening' | 'open' | 'closing' | 'gone';
  held: number;
  /** PostgreSQL refuses a new connection of it. */
  refused(): void;
  /** Ends the opening or the closing that is under way. */
  proceed(ok: boolean): void;
}

interface Asked {
  tenantId: TenantId;
  /** What was true when the lease was asked for. */
  epoch: number;
  version: number;
  settled: boolean;
}

class World {
  readonly limit: number;
  readonly pools: TenantPools;
  readonly fakes = new Set<FakePool>();
  readonly asked: Asked[] = [];
  readonly held: { lease: PoolLease; fake: FakePool }[] = [];
  /** How often a tenant was removed. */
  readonly epochs = new Map(tenants.map((tenantId) => [tenantId, 0]));
  /** What the Tenant Manager says. */
  readonly versions = new Map(tenants.map((tenantId) => [tenantId, 1]));
  /** The newest configuration with which a tenant's lease came in. */
  readonly seen = new Map(tenants.map((tenantId) => [tenantId, 1]));
  readonly failures: string[] = [];
  stopped = false;

  constructor(limit: number) {
    this.limit = limit;
    const source = { config: async (tenantId) => this.config(tenantId) } as Partial<TenantSource>;
    const settings = { MULTI_TENANT_MAX_TENANT_POOLS: limit, MULTI_TENANT_IDLE_TIMEOUT_SEC: idleMs / 1000 };
    this.pools = new TenantPools(source as TenantSource, settings as Settings, testLog().log, {
      maxWaitMs,
      // As the refresher does, which asks the Tenant Manager.
      onRefused: (tenantId) => this.pools.refresh(this.config(tenantId)),
      open: (tenantId, config, refused) => this.open(tenantId, config ?? this.config(tenantId), refused),
    });
  }

  config(tenantId: TenantId): TenantConfig {
    const password = String(this.versions.get(tenantId));
    return { tenantId, postgres: { password }, limits: {} } as unknown as TenantConfig;
  }

  open(tenantId: TenantId, config: TenantConfig, refused: (code: string) => void): Promise<OpenedPool> {
    const { promise, resolve, reject } = Promise.withResolvers<OpenedPool>();
    const version = Number(config.postgres.password);
    const fake: FakePool = {
      tenantId,
      version,
      state: 'opening',
      held: 0,
      refused: () => refused('28P01'),
      proceed,
    };
    const pool = fake as unknown as OpenedPool['pool'];
    const closed = Promise.withResolvers<void>();
    const close = () => {
      if (fake.held > 0) this.failures.push(`the pool of ${tenantId} was closed while it was held`);
      if (fake.state !== 'open') this.failures.push(`the pool of ${tenantId} was closed while it was ${fake.state}`);
      fake.state = 'closing';
      return closed.promise;
    };
    function proceed(ok: boolean) {
      if (fake.state === 'closing') {
        fake.state = 'gone';
        closed.resolve();
      } else if (ok) {
        fake.state = 'open';
        resolve({ pool, config, close } as OpenedPool);
      } else {
        fake.state = 'gone';
        reject(new MatcherError('DATABASE_UNAVAILABLE', 'It cannot be used', { remedy: 'not-now' }));
      }
    }
    this.fakes.add(fake);
    return promise;
  }

  lease(tenantId: TenantId): void {
    const epoch = this.epochs.get(tenantId) as number;
    const version = this.seen.get(tenantId) as number;
    const asked: Asked = { tenantId, epoch, version, settled: false };
    this.asked.push(asked);
    this.pools.lease(tenantId).then(
      (lease) => {
        asked.settled = true;
        const fake = lease.pool as unknown as FakePool;
        fake.held++;
        this.held.push({ lease, fake });
        if (fake.state !== 'open') this.failures.push(`${tenantId} was given a pool that is ${fake.state}`);
        if (fake.tenantId !== tenantId) this.failures.push(`${tenantId} was given the pool of ${fake.tenantId}`);
        if (this.epochs.get(tenantId) !== epoch) this.failures.push(`${tenantId} came in although it was removed`);
        if (this.stopped) this.failures.push(`${tenantId} came in although the process is stopping`);
        if (fake.version < version) this.failures.push(`${tenantId} went back to an older configuration`);
        this.seen.set(tenantId, Math.max(fake.version, this.seen.get(tenantId) as number));
      },
      (error) => {
        asked.settled = true;
        if (!(error instanceof MatcherError) || error.remedy !== 'not-now') this.failures.push(String(error));
        const removed = this.epochs.get(tenantId) !== epoch;
        if (errorCode(error) === 'TENANT_REMOVED' && !removed) this.failures.push(`${tenantId} was not removed`);
      },
    );
  }

  release(index: number): void {
    const [held] = this.held.splice(index % Math.max(1, this.held.length), 1);
    if (!held) return;
    held.fake.held--;
    held.lease.release();
  }

  get underWay(): FakePool[] {
    return [...this.fakes].filter(({ state }) => state === 'opening' || state === 'closing');
  }

  get existing(): FakePool[] {
    return [...this.fakes].filter(({ state }) => state !== 'gone');
  }

  check(): void {
    expect(this.failures).toEqual([]);
    expect(this.existing.length).toBeLessThanOrEqual(this.limit);
    const { open, waiting } = this.pools.state();
    expect(open).toBe(this.existing.length);
    const opened = this.existing.filter(({ state }) => state === 'open');
    const unheld = opened.filter(({ held }) => held === 0);
    if (waiting > 0) {
      expect(open, 'somebody waits although there is a free place').toBe(this.limit);
      const closing = this.existing.some(({ state }) => state === 'closing');
      if (!closing) expect(unheld, 'somebody waits although nobody holds').toEqual([]);
    }
    // What nobody holds is there for the next lease; there is no second one that nobody would ever come to.
    for (const { tenantId } of unheld) expect(this.pools.poolOf(tenantId)?.leases).toBe(0);
    expect(new Set(unheld.map(({ tenantId }) => tenantId)).size).toBe(unheld.length);
    // Who is first and has an open pool does not wait (the successors of pools, which also wait, are not known here).
    const pending = this.asked.filter(({ settled }) => !settled);
    const [first] = pending;
    if (first && waiting === pending.length) expect(this.pools.poolOf(first.tenantId)).toBeUndefined();
  }

  /** Ends what is under way, what that leads to, and so on. */
  async proceedAll(): Promise<void> {
    while (this.underWay.length > 0) {
      for (const fake of this.underWay) fake.proceed(true);
      await settle();
    }
  }
}

/** Lets everything happen that needs no time. */
async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

type Step = fc.AsyncCommand<object, World>;

function step(name: string, run: (world: World) => unknown): Step {
  return {
    check: () => true,
    async run(_model, world) {
      await run(world);
      await settle();
      world.check();
    },
    toString: () => name,
  };
}

const tenant = fc.constantFrom(...tenants);
const steps = [
  tenant.map((tenantId) => step(`lease(${tenantId})`, (world) => world.lease(tenantId))),
  tenant.map((tenantId) =>
    step(`lease(${tenantId})×3`, (world) => {
      for (let i = 0; i < 3; i++) world.lease(tenantId);
    }),
  ),
  fc.nat(20).map((index) => step(`release(${index})`, (world) => world.release(index))),
  fc.nat(20).map((index) => step(`release(${index})`, (world) => world.release(index))),
  fc
    .record({ index: fc.nat(20), ok: fc.boolean() })
    .map(({ index, ok }) =>
      step(`proceed(${index}, ${ok ? 'well' : 'badly'})`, ({ underWay }) =>
        underWay[index % underWay.length]?.proceed(ok),
      ),
    ),
  fc.constant(step('proceedAll()', (world) => world.proceedAll())),
  fc
    .constantFrom(10, 400, 1100, 9500, maxWaitMs, idleMs)
    .map((ms) => step(`advance(${ms})`, () => vi.advanceTimersByTimeAsync(ms))),
  fc.record({ tenantId: tenant, told: fc.boolean() }).map(({ tenantId, told }) =>
    step(`${told ? 'rotate' : 'rotateUnheard'}(${tenantId})`, (world) => {
      world.versions.set(tenantId, (world.versions.get(tenantId) as number) + 1);
      if (told) world.pools.refresh(world.config(tenantId));
    }),
  ),
  tenant.map((tenantId) =>
    step(`rotateBadly(${tenantId})`, async (world) => {
      world.versions.set(tenantId, (world.versions.get(tenantId) as number) + 1);
      const before = new Set(world.fakes);
      world.pools.refresh(world.config(tenantId));
      await settle();
      for (const fake of world.fakes) if (!before.has(fake) && fake.state === 'opening') fake.proceed(false);
    }),
  ),
  tenant.map((tenantId) => step(`refresh(${tenantId})`, (world) => world.pools.refresh(world.config(tenantId)))),
  fc.nat(20).map((index) =>
    step(`refuse(${index})`, (world) => {
      const open = world.existing.filter(({ state }) => state === 'open');
      const fake = open[index % open.length];
      if (!fake) return;
      const { open: before } = world.pools.state();
      fake.refused();
      // What is configured as it was is left alone.
      if (fake.version !== world.versions.get(fake.tenantId)) return;
      expect(fake.state, 'a refused pool of an unchanged configuration was closed').toBe('open');
      expect(world.pools.state().open).toBe(before);
    }),
  ),
  tenant.map((tenantId) =>
    step(`retire(${tenantId})`, (world) => {
      world.epochs.set(tenantId, (world.epochs.get(tenantId) as number) + 1);
      void world.pools.retire(tenantId);
    }),
  ),
];

const history = (maxCommands: number) => fc.commands(steps, { maxCommands, size: 'max' });

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test('whatever happens in whatever order: the bound holds, no held pool is closed, no removed tenant comes in, nobody waits for ever, all is closed in the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), history(60), async (limit, commands) => {
      const world = new World(limit);
      await fc.asyncModelRun(() => ({ model: {}, real: world }), commands);

      // Whoever holds a pool keeps it, and still everybody else has an answer in time.
      await world.proceedAll();
      await vi.advanceTimersByTimeAsync(maxWaitMs);
      await world.proceedAll();
      world.check();
      expect(world.asked.filter(({ settled }) => !settled)).toEqual([]);
      expect(world.pools.state().waiting).toBe(0);

      // What is told once more and let go is in step with the Tenant Manager, and closed when nobody comes any more.
      while (world.held.length > 0) world.release(0);
      await world.proceedAll();
      for (const tenantId of world.pools.tenants()) world.pools.refresh(world.config(tenantId));
      await settle();
      await world.proceedAll();
      for (const { tenantId, version } of world.existing) expect(version).toBe(world.versions.get(tenantId));
      await vi.advanceTimersByTimeAsync(idleMs);
      await world.proceedAll();
      expect(world.pools.state()).toEqual({ open: 0, leased: 0, closing: 0, waiting: 0 });
    }),
    { numRuns: 200 },
  );
});

test('stopped at any moment: everybody is answered, what is held may be used to its end, and nothing stays open', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), history(30), async (limit, commands) => {
      const world = new World(limit);
      await fc.asyncModelRun(() => ({ model: {}, real: world }), commands);
      world.stopped = true;
      let closed = false;
      void world.pools.closeAll().then(() => {
        closed = true;
      });
      await settle();
      await world.proceedAll();
      expect(world.asked.filter(({ settled }) => !settled)).toEqual([]);
      expect(closed).toBe(world.held.length === 0);
      while (world.held.length > 0) world.release(0);
      await world.proceedAll();
      expect(closed).toBe(true);
      expect(world.existing).toEqual([]);
      expect(world.failures).toEqual([]);
    }),
    { numRuns: 100 },
  );
});
