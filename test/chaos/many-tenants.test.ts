import { setTimeout as delay } from 'node:timers/promises';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { errorCode } from '@matcher/shared/errors.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import type { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newTenantId, openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { testLog } from '../support/test-log.ts';

/** How long to go on, to measure; without it, so many operations as show what there is to see. */
const { MATCHER_LOAD_SECONDS } = process.env;
const operations = 600;

const tenantCount = 200;
const maxPools = 20;
const maxConns = 3;
/** More jobs at a time than places, so that there is always somebody who waits. */
const jobs = 40;

let databases: TestDatabases;
let administrator: Client;
let shared: TenantConfig;
/** By tenant; each has a schema of its own in one database, and a role that owns it and by which the server tells them apart. */
const configs = new Map<TenantId, TenantConfig>();

beforeAll(async () => {
  databases = await openTestDatabases();
  shared = await databases.create();
  administrator = await databases.connect(shared);
  for (let i = 0; i < tenantCount; i++) {
    const tenantId = newTenantId();
    const name = `t_${tenantId.slice(0, 16)}`;
    await administrator.query(
      `CREATE ROLE ${name} LOGIN PASSWORD '${name}'; CREATE SCHEMA ${name} AUTHORIZATION ${name};
       SET ROLE ${name}; CREATE TABLE ${name}.marker AS SELECT '${tenantId}' AS tenant; RESET ROLE`,
    );
    const postgres = { ...shared.postgres, user: name, password: name, schema: name };
    configs.set(tenantId, { ...shared, tenantId, postgres });
  }
});
afterAll(async () => {
  for (const { postgres } of configs.values()) {
    await administrator.query(`DROP OWNED BY ${postgres.user} CASCADE; DROP ROLE ${postgres.user}`);
  }
  await databases.close();
});

/** Watches the server: how many tenants have connections at the same time, and how many these are. */
function watchServer() {
  const seen = { pools: 0, connections: 0, looks: 0 };
  let going = true;
  const watching = (async () => {
    while (going) {
      const [row] = await databases.ask<{ pools: number; connections: number }>(
        `SELECT count(DISTINCT usename)::int AS pools, count(*)::int AS connections
           FROM pg_stat_activity WHERE datname = $1 AND application_name = 'matcher'`,
        [shared.postgres.database],
      );
      seen.pools = Math.max(seen.pools, row?.pools ?? 0);
      seen.connections = Math.max(seen.connections, row?.connections ?? 0);
      seen.looks++;
      await delay(5);
    }
  })();
  const stop = async () => {
    going = false;
    await watching;
    return seen;
  };
  return { stop };
}

test('200 tenants over 20 pools under random load: the server never sees more, no lease loses its pool or waits for ever, and each sees its own data', async () => {
  const settings = loadSettings('worker', {
    ...process.env,
    MULTI_TENANT_ENABLED: 'false',
    MULTI_TENANT_MAX_TENANT_POOLS: String(maxPools),
    POSTGRES_MAX_OPEN_CONNS: String(maxConns),
    POSTGRES_MAX_IDLE_CONNS: '1',
  });
  const source: TenantSource = {
    listActive: async () => [...configs.keys()],
    config: async (tenantId) => configs.get(tenantId) as TenantConfig,
    refresh: (tenantId) => source.config(tenantId),
    forget: () => {},
  };
  const metrics = createMetrics();
  // On a machine that is busy with other things a turn takes longer; for ever is what nobody may wait.
  const pools = new TenantPools(source, settings, testLog().log, { metrics, maxWaitMs: 60_000 });
  const tenants = [...configs.keys()];
  const used = new Set<TenantId>();
  const waits: number[] = [];
  const refused: string[] = [];
  let mostOpen = 0;
  let begun = 0;
  const started = performance.now();
  const goesOn = () =>
    MATCHER_LOAD_SECONDS === undefined
      ? begun < operations
      : performance.now() - started < Number(MATCHER_LOAD_SECONDS) * 1000;

  async function operate(): Promise<void> {
    // A few tenants have most of the work; the others come by turns.
    const tenantId = (
      begun % 2 === 0 ? tenants[Math.floor(Math.random() * 30)] : tenants[(begun >> 1) % tenantCount]
    ) as TenantId;
    begun++;
    const asked = performance.now();
    const lease = await pools.lease(tenantId).catch((error) => refused.push(errorCode(error)));
    if (typeof lease === 'number') return;
    waits.push(performance.now() - asked);
    used.add(tenantId);
    mostOpen = Math.max(mostOpen, pools.state().open);
    try {
      for (let i = 0; i < 2; i++) {
        const { rows } = await lease.pool.query('SELECT tenant, current_user AS role FROM marker');
        expect(rows).toEqual([{ tenant: tenantId, role: lease.config.postgres.user }]);
        if (Math.random() < 0.3) await delay(Math.random() * 50);
      }
    } finally {
      lease.release();
    }
    if (begun % 40 === 0) rotate(tenantId);
  }

  /** Its pool has to give way to one with other limits, whoever holds it. */
  function rotate(tenantId: TenantId): void {
    const config = configs.get(tenantId) as TenantConfig;
    const changed = { ...config, limits: { ...config.limits, maxOpenConns: 2 + (config.limits.maxOpenConns % 4) } };
    configs.set(tenantId, changed);
    pools.refresh(changed);
  }

  const watch = watchServer();
  await Promise.all(
    Array.from({ length: jobs }, async () => {
      while (goesOn()) await operate();
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const seen = await watch.stop();
  await pools.closeAll();

  expect(refused).toEqual([]);
  expect(used.size).toBe(tenantCount);
  expect(mostOpen).toBe(maxPools);
  expect(seen.pools).toBeLessThanOrEqual(maxPools);
  expect(seen.connections).toBeLessThanOrEqual(maxPools * maxConns);
  // The look was close enough to see the fleet full.
  expect(seen.pools).toBeGreaterThan(maxPools / 2);
  expect(pools.state()).toEqual({ open: 0, leased: 0, closing: 0, waiting: 0 });
  if (MATCHER_LOAD_SECONDS !== undefined) {
    waits.sort((one, other) => one - other);
    const at = (part: number) => Math.round(waits[Math.floor((waits.length - 1) * part)] ?? 0);
    const counts = (await metrics.registry.metrics()).match(
      /^(tenant_conn|matcher_tenant_pools_closed|matcher_tenant_rot).*/gm,
    );
    console.log({ seconds, leases: waits.length, waitMs: { p50: at(0.5), p99: at(0.99), max: at(1) }, seen, counts });
  }
});
