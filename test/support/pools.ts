import { loadSettings } from '@matcher/shared/config/load.ts';
import { MatcherError } from '@matcher/shared/errors.ts';
import { type PoolLease, TenantPools, type TenantPoolsOptions } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { expect } from 'vitest';
import { openTestDatabases, type TestDatabases } from './databases.ts';
import { testLog } from './test-log.ts';

/** Five tenants with a database each, and pools over them. */
export interface PoolFixture {
  databases: TestDatabases;
  configs: [TenantConfig, TenantConfig, TenantConfig, TenantConfig, TenantConfig];
  ids: [TenantId, TenantId, TenantId, TenantId, TenantId];
  source: TestSource;
  /** What the pools logged, line by line. */
  lines: string[];
  /** Closed after the test; what it still holds is released before. */
  pools(max: number, options?: TenantPoolsOptions, env?: NodeJS.ProcessEnv): TenantPools;
  /** Opens the tenants' pools in this order and leaves them idle. */
  openIdle(pools: TenantPools, ...tenants: TenantId[]): Promise<void>;
  /** Which of the tenants have connections, as the server sees it. */
  connected(): Promise<TenantId[]>;
  /** A tenant's connections, as the server sees them. */
  backends(config: TenantConfig): Promise<{ pid: number; waits: boolean }[]>;
  /** Whether a promise has not been settled by the time that everything which is due has run. */
  isPending(promise: Promise<unknown>): Promise<boolean>;
  /** To be called after each test. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** Knows the tenants, and what it was asked. */
export interface TestSource {
  /** What is true now. */
  known: Map<TenantId, TenantConfig>;
  /** What `config` answers for a tenant whose truth it has not heard of yet. */
  stale: Map<TenantId, TenantConfig>;
  asked: TenantId[];
  refreshed: TenantId[];
  forgotten: TenantId[];
  /** Called before every answer. */
  before(tenantId: TenantId): Promise<void>;
  listActive(): Promise<TenantId[]>;
  config(tenantId: TenantId): Promise<TenantConfig>;
  refresh(tenantId: TenantId): Promise<TenantConfig>;
  forget(tenantId: TenantId): void;
}

export async function openPoolFixture(): Promise<PoolFixture> {
  const databases = await openTestDatabases();
  const configs: TenantConfig[] = [];
  for (let i = 0; i < 5; i++) configs.push(await databases.create());
  let opened: TenantPools[] = [];
  let leases: PoolLease[] = [];

  const fixture: PoolFixture = {
    databases,
    configs: configs as PoolFixture['configs'],
    ids: configs.map(({ tenantId }) => tenantId) as PoolFixture['ids'],
    source: testSource(configs),
    lines: [],
    pools(max, options = {}, env = {}) {
      const settings = loadSettings('worker', {
        ...process.env,
        MULTI_TENANT_ENABLED: 'false',
        MULTI_TENANT_MAX_TENANT_POOLS: String(max),
        ...env,
      });
      const { log, lines } = testLog();
      fixture.lines = lines;
      const pools = new TenantPools(fixture.source, settings, log, options);
      const lease = pools.lease.bind(pools);
      pools.lease = async (tenantId) => {
        const held = await lease(tenantId);
        leases.push(held);
        return held;
      };
      opened.push(pools);
      return pools;
    },
    async openIdle(pools, ...tenants) {
      for (const tenantId of tenants) (await pools.lease(tenantId)).release();
    },
    async connected() {
      const rows = await databases.ask<{ datname: string }>(
        `SELECT DISTINCT datname FROM pg_stat_activity WHERE datname = ANY($1) AND application_name = 'matcher'`,
        [configs.map(({ postgres }) => postgres.database)],
      );
      const names = new Set(rows.map(({ datname }) => datname));
      return configs.filter(({ postgres }) => names.has(postgres.database)).map(({ tenantId }) => tenantId);
    },
    backends: ({ postgres }) =>
      databases.ask<{ pid: number; waits: boolean }>(
        `SELECT pid, coalesce(wait_event_type = 'Lock', false) AS waits FROM pg_stat_activity
          WHERE datname = $1 AND application_name = 'matcher'`,
        [postgres.database],
      ),
    async isPending(promise) {
      let pending = true;
      const settled = () => {
        pending = false;
      };
      promise.then(settled, settled);
      await databases.ask('SELECT 1');
      return pending;
    },
    async reset() {
      for (const lease of leases) lease.release();
      await Promise.all(opened.map((pools) => pools.closeAll()));
      opened = [];
      leases = [];
      fixture.source = testSource(configs);
    },
    close: () => databases.close(),
  };
  return fixture;
}

export const works = async ({ pool }: PoolLease) =>
  expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);

function testSource(configs: TenantConfig[]): TestSource {
  const source: TestSource = {
    known: new Map(configs.map((config) => [config.tenantId, config])),
    stale: new Map(),
    asked: [],
    refreshed: [],
    forgotten: [],
    before: async () => {},
    listActive: async () => [...source.known.keys()],
    async config(tenantId) {
      source.asked.push(tenantId);
      return source.stale.get(tenantId) ?? (await truth(tenantId));
    },
    async refresh(tenantId) {
      source.refreshed.push(tenantId);
      return await truth(tenantId);
    },
    forget(tenantId) {
      source.forgotten.push(tenantId);
      source.stale.delete(tenantId);
    },
  };
  const truth = async (tenantId: TenantId) => {
    await source.before(tenantId);
    const config = source.known.get(tenantId);
    if (!config) throw new MatcherError('TENANT_NOT_FOUND', 'There is no such tenant');
    return config;
  };
  return source;
}
