import { loadSettings } from '@matcher/shared/config/load.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { TenantRefresher } from '@matcher/shared/tenancy/refresh.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ContractServer, startContractServer } from '../support/contract-server.ts';
import { newTenantId } from '../support/databases.ts';
import { until } from '../support/fleet.ts';
import { testLog } from '../support/test-log.ts';

let server: ContractServer;
let stop: () => Promise<void>;
beforeEach(async () => {
  server = await startContractServer();
});
afterEach(async () => {
  await stop();
  await server.close();
});

/** A refresher of tenants all of which have something open. What it is told is kept in `told`. */
async function startRefresher(count: number, env: NodeJS.ProcessEnv = {}) {
  const tenants = Array.from({ length: count }, () => newTenantId());
  for (const id of tenants) server.active.add(id);
  const { log } = testLog();
  const metrics = createMetrics();
  const settings = loadSettings('publisher', {
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: server.address,
    MULTI_TENANT_SERVICE_API_KEY: server.apiKey,
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1',
    MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: '2',
    MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC: '1',
    ...env,
  });
  const source = createTenantManagerClient(settings, { log, metrics });
  const directory = new TenantDirectory(source, settings, log, metrics);
  const told: TenantConfig[] = [];
  const open = { tenants: () => directory.active, refresh: (config: TenantConfig) => void told.push(config) };
  const refresher = new TenantRefresher({ source, directory, open: [open], settings, log, metrics });
  directory.start();
  await until(() => directory.known);
  refresher.start();
  stop = async () => {
    refresher.stop();
    await directory.stop();
  };
  const results = async () => {
    const { values } = await metrics.refreshes.get();
    return Object.fromEntries(values.map(({ labels, value }) => [labels.result, value]));
  };
  const asked = (tenantId: TenantId) => server.calls.filter((call) => call === tenantId).length;
  return { tenants, directory, refresher, told, results, asked };
}

test('tenants are asked for again and again without being used, so that a long-lived consumer hears of a change', async () => {
  const { tenants, told, results } = await startRefresher(20);
  await until(() => tenants.every((id) => told.filter(({ tenantId }) => tenantId === id).length >= 2));
  const [changed] = tenants as [TenantId];
  server.answers.set(changed, { rabbitmq: { password: 'another' } });
  await until(() => told.some(({ tenantId, rabbitmq }) => tenantId === changed && rabbitmq.password === 'another'));
  expect(await results()).toMatchObject({ changed: 1 });
});

test('a Tenant Manager that is away changes nothing for what is open, and is asked again when it is back', async () => {
  const { tenants, told, results, directory } = await startRefresher(5);
  await until(() => told.length >= 5);
  server.failure = 503;
  await until(async () => ((await results()).failed ?? 0) >= 5);
  expect([...directory.active].toSorted()).toEqual(tenants.toSorted());
  server.failure = undefined;
  told.length = 0;
  await until(() => new Set(told.map(({ tenantId }) => tenantId)).size === 5);
});

describe('a tenant that the list still names and whose configuration is refused', () => {
  test.each([
    ['suspended', { status: 403, body: { code: '0131', error: 'suspended', status: 'suspended' } }],
    ['purged', { status: 403, body: { code: '0131', error: 'purged', status: 'purged' } }],
    ['unknown', { status: 404, body: { code: 'NOT_FOUND', error: 'unknown' } }],
  ])(
    '%s: it is not served, is asked for again every interval, and comes back when it answers',
    async (_what, answer) => {
      const { tenants, directory, asked, results } = await startRefresher(3);
      const [refused] = tenants as [TenantId];
      server.answers.set(refused, answer);
      await until(() => !directory.active.has(refused));
      expect(directory.active.size).toBe(2);
      const before = asked(refused);
      await until(() => asked(refused) >= before + 2);
      expect(directory.active.has(refused)).toBe(false);
      expect((await results()).gone).toBeGreaterThan(0);
      server.answers.delete(refused);
      await until(() => directory.active.has(refused));
    },
  );

  test('while access that is denied as a whole (a wrong key) says nothing about a tenant', async () => {
    const { directory, results } = await startRefresher(3);
    server.failure = 401;
    await until(async () => ((await results()).failed ?? 0) >= 3);
    expect(directory.active.size).toBe(3);
  });
});

describe('refused credentials', () => {
  const rarely = { MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600' };

  test('are asked for at once, and once however many were refused', async () => {
    const { tenants, refresher, told, asked } = await startRefresher(2, rarely);
    const [refused, other] = tenants as [TenantId, TenantId];
    server.answers.set(refused, { rabbitmq: { password: 'another' } });
    for (let i = 0; i < 50; i++) refresher.credentialsRefused(refused);
    await until(() => told.length > 0);
    expect(told.map(({ rabbitmq }) => rabbitmq.password)).toEqual(['another']);
    refresher.credentialsRefused(other);
    await until(() => told.length > 1);
    expect([asked(refused), asked(other)]).toEqual([1, 1]);
  });

  test('that stay wrong do not hammer the Tenant Manager', async () => {
    const { tenants, refresher, asked } = await startRefresher(1, rarely);
    const [refused] = tenants as [TenantId];
    const began = performance.now();
    // At once, after one second and after two more.
    while (asked(refused) < 3) {
      refresher.credentialsRefused(refused);
      await new Promise(setImmediate);
    }
    expect(performance.now() - began).toBeGreaterThan(2900);
  });
});

test('a thousand rotations at once are asked for within five seconds, a few at a time, and the events are not held up', async () => {
  const { tenants, directory, told } = await startRefresher(1000, {
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600',
  });
  const began = performance.now();
  for (let i = 0; i < 3; i++) for (const tenantId of tenants) directory.emit('changed', tenantId);
  expect(performance.now() - began).toBeLessThan(1000);
  await until(() => told.length >= 1000);
  expect(new Set(told.map(({ tenantId }) => tenantId)).size).toBe(1000);
  expect(told).toHaveLength(1000);
});

test('after the stop nobody is asked for or told anything any more', async () => {
  const { tenants, told } = await startRefresher(3);
  await until(() => told.length >= 3);
  await stop();
  const before = { told: told.length, calls: server.calls.length };
  // Longer than the interval, in which everybody would have been asked for.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect({ told: told.length, calls: server.calls.length }).toEqual(before);
  expect(tenants).toHaveLength(3);
});
