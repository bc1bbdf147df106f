import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { lifecycleChannel } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { until } from '../support/fleet.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { type Fixture, startFixture } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';

vi.setConfig({ testTimeout: 30_000 });

let manager: Fixture;
let redis: Redis;
let running: TenantDirectory[];

beforeAll(async () => {
  manager = await startFixture();
  redis = new Redis({
    host: process.env.MULTI_TENANT_REDIS_HOST as string,
    port: Number(process.env.MULTI_TENANT_REDIS_PORT),
    ...(process.env.MULTI_TENANT_REDIS_PASSWORD ? { password: process.env.MULTI_TENANT_REDIS_PASSWORD } : {}),
  });
});
afterAll(async () => {
  redis.disconnect();
  await manager.close();
});
beforeEach(() => {
  running = [];
});
afterEach(() => Promise.all(running.map((directory) => directory.stop())));

/** A worker's settings in the fixture's deployment. Unless a test says otherwise, no periodic comparison helps out. */
function settings(env: NodeJS.ProcessEnv = {}) {
  return loadSettings('publisher', {
    ...process.env,
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY,
    MULTI_TENANT_ENVIRONMENT: manager.settings.MULTI_TENANT_ENVIRONMENT,
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600',
    ...env,
  });
}

/** A directory that has read its first list, and has subscribed to events if there are any to be heard. */
async function startDirectory(env: NodeJS.ProcessEnv = {}, source?: TenantSource) {
  const own = settings(env);
  const { log, lines } = testLog();
  const client = source ?? createTenantManagerClient(own);
  const asked = { lists: 0, forgotten: [] as TenantId[] };
  const directory = new TenantDirectory(
    {
      listActive: (signal) => {
        asked.lists++;
        return client.listActive(signal);
      },
      config: client.config,
      refresh: client.refresh,
      forget: (tenantId) => {
        asked.forgotten.push(tenantId);
        client.forget(tenantId);
      },
    },
    own,
    log,
  );
  running.push(directory);
  const changes: [string, TenantId][] = [];
  directory.on('added', (tenantId) => changes.push(['added', tenantId]));
  directory.on('removed', (tenantId) => changes.push(['removed', tenantId]));
  directory.start();
  const logged = (text: string) => lines.filter((line) => line.includes(text));
  await until(() => directory.known && (!own.MULTI_TENANT_REDIS_HOST || logged('subscribed').length > 0));
  // The subscription is itself a reason to compare.
  await directory.compare();
  return { directory, changes, asked, logged };
}

const suspend = (id: string) => manager.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`);
const reactivate = (id: string) => manager.call('PUT', `/v1/tenants/${id}/reactivate`);
const deaf = { MULTI_TENANT_REDIS_HOST: '' };

test('after a restart the list is read: what was active before is active without any event', async () => {
  const { tenantId } = await manager.onboard();
  const { directory, changes } = await startDirectory(deaf);
  expect(directory.active.has(tenantId)).toBe(true);
  expect(changes).toContainEqual(['added', tenantId]);
});

test('a tenant that was created and not associated is not active', async () => {
  const id = await manager.create();
  const { directory } = await startDirectory(deaf);
  expect([...directory.active]).not.toContain(id);
});

test('a new tenant is added within a second of its event; suspended it is removed, reactivated added again', async () => {
  const { directory, changes, asked } = await startDirectory();
  const { tenantId } = await manager.onboard();
  const answered = performance.now();
  await until(() => directory.active.has(tenantId));
  expect(performance.now() - answered).toBeLessThan(1000);
  await suspend(tenantId);
  await until(() => !directory.active.has(tenantId));
  expect(asked.forgotten).toContain(tenantId);
  await reactivate(tenantId);
  await until(() => directory.active.has(tenantId));
  expect(changes.filter(([, id]) => id === tenantId).map(([change]) => change)).toEqual(['added', 'removed', 'added']);
});

test('events that nobody heard are made up for by the next comparison', async () => {
  const { directory } = await startDirectory({ ...deaf, MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
  const { tenantId } = await manager.onboard();
  await until(() => directory.active.has(tenantId));
  await suspend(tenantId);
  await until(() => !directory.active.has(tenantId));
});

test('what was published while the subscription was cut is found when it stands again, without waiting for an interval', async () => {
  const { MULTI_TENANT_REDIS_HOST: host, MULTI_TENANT_REDIS_PORT: port } = process.env;
  const proxy = await startTcpProxy(host as string, Number(port));
  const { directory, logged } = await startDirectory({
    MULTI_TENANT_REDIS_HOST: '127.0.0.1',
    MULTI_TENANT_REDIS_PORT: String(proxy.port),
  });
  proxy.mode = 'refuse';
  proxy.cut();
  const { tenantId } = await manager.onboard();
  expect(directory.active.has(tenantId)).toBe(false);
  proxy.mode = 'forward';
  await until(() => directory.active.has(tenantId));
  expect(logged('subscribed')).toHaveLength(2);
  await directory.stop();
  await proxy.close();
});

describe('an event changes nothing by itself', () => {
  const channel = () => lifecycleChannel(manager.settings.MULTI_TENANT_ENVIRONMENT as string);
  const event = (fields: object = {}) => ({
    event_id: 'e1',
    event_type: 'tenant.service.associated',
    timestamp: new Date().toISOString(),
    tenant_id: newTenantId(),
    tenant_slug: 'x',
    environment: manager.settings.MULTI_TENANT_ENVIRONMENT,
    payload: { service_name: 'matcher' },
    ...fields,
  });

  test.each<[string, () => unknown]>([
    ['no JSON', () => 'associated'],
    ['null', () => 'null'],
    ['no object', () => '[]'],
    ['without a type', () => event({ event_type: undefined })],
    ['without a tenant', () => event({ tenant_id: undefined })],
    ['whose tenant is no identifier', () => event({ tenant_id: '../etc' })],
    ['whose tenant is spelled as a URN', () => event({ tenant_id: `urn:uuid:${newTenantId()}` })],
    ['of an unknown type', () => event({ event_type: 'tenant.exploded' })],
    ['for another service', () => event({ payload: { service_name: 'ledger' } })],
    ['of another environment', () => event({ environment: 'production' })],
    ['whose payload is none', () => event({ payload: 'matcher' })],
  ])('%s: it is dropped', async (_what, make) => {
    const { directory, asked } = await startDirectory();
    const before = { forgotten: [...asked.forgotten], active: [...directory.active] };
    const message = make();
    await redis.publish(channel(), typeof message === 'string' ? message : JSON.stringify(message));
    // One that is heard, behind it: what was before it has been dealt with then.
    const known = event();
    await redis.publish(channel(), JSON.stringify(known));
    await until(() => asked.forgotten.includes(known.tenant_id));
    await directory.compare();
    expect(asked.forgotten).toEqual([...before.forgotten, known.tenant_id]);
    expect([...directory.active]).toEqual(before.active);
  });

  test('late, repeated or forged: a stale “associated” does not start a suspended tenant', async () => {
    const { tenantId } = await manager.onboard();
    const { directory, asked } = await startDirectory();
    await suspend(tenantId);
    await until(() => !directory.active.has(tenantId));
    const before = asked.forgotten.length;
    for (let i = 0; i < 3; i++) await redis.publish(channel(), JSON.stringify(event({ tenant_id: tenantId })));
    await until(() => asked.forgotten.length === before + 3);
    await directory.compare();
    expect(directory.active.has(tenantId)).toBe(false);
  });

  test('a thousand events at once cost a few lists, not a thousand', async () => {
    const { directory, asked } = await startDirectory();
    const before = { lists: asked.lists, forgotten: asked.forgotten.length };
    await Promise.all(Array.from({ length: 1000 }, () => redis.publish(channel(), JSON.stringify(event()))));
    await until(() => asked.forgotten.length === before.forgotten + 1000);
    await directory.compare();
    expect(asked.lists - before.lists).toBeLessThan(100);
  });
});

describe('a list that cannot be right', () => {
  const tenants = [newTenantId(), newTenantId()];
  const sourceOf = (list: () => Promise<TenantId[]>): TenantSource => ({
    listActive: list,
    config: () => Promise.reject(new Error('nobody asks')),
    refresh: () => Promise.reject(new Error('nobody asks')),
    forget: () => {},
  });

  test('an empty list where there was a full one is not believed at once, however often it is read in a moment', async () => {
    let list = tenants;
    const { directory, changes, logged } = await startDirectory(
      deaf,
      sourceOf(async () => list),
    );
    list = [];
    for (let i = 0; i < 10; i++) await directory.compare();
    expect([...directory.active]).toEqual(tenants);
    expect(logged('empty where it was full').length).toBeGreaterThan(0);
    list = tenants;
    await directory.compare();
    expect(changes.map(([change]) => change)).toEqual(['added', 'added']);
  });

  test('one that stays empty over several intervals is', async () => {
    let list = tenants;
    const everySecond = { ...deaf, MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' };
    const { directory } = await startDirectory(
      everySecond,
      sourceOf(async () => list),
    );
    list = [];
    await until(() => directory.active.size === 0);
  });

  test('the only tenant’s end is believed at once', async () => {
    let list = tenants.slice(0, 1);
    const { directory } = await startDirectory(
      deaf,
      sourceOf(async () => list),
    );
    list = [];
    await directory.compare();
    expect(directory.active.size).toBe(0);
  });
});

describe('a Tenant Manager that is away', () => {
  test('changes nothing for what is known', async () => {
    const own = await startFixture();
    const { tenantId } = await own.onboard();
    const { directory, changes, logged } = await startDirectory({
      ...deaf,
      MULTI_TENANT_URL: own.address,
      MULTI_TENANT_SERVICE_API_KEY: own.settings.MULTI_TENANT_SERVICE_API_KEY,
    });
    await own.close();
    await directory.compare();
    expect(directory.active.has(tenantId)).toBe(true);
    expect(changes.some(([change]) => change === 'removed')).toBe(false);
    expect(logged('the list of active tenants cannot be read')).toHaveLength(1);
  });

  test('at the start is asked again soon, and until then nothing is known', async () => {
    let away = true;
    const { tenantId } = await manager.onboard();
    const client = createTenantManagerClient(settings());
    const directory = new TenantDirectory(
      {
        ...client,
        listActive: async () => {
          if (away) throw new Error('away');
          return client.listActive();
        },
      },
      settings(deaf),
      testLog().log,
    );
    running.push(directory);
    directory.start();
    await once(directory, 'compared');
    expect(directory.known).toBe(false);
    away = false;
    await until(() => directory.active.has(tenantId));
    expect(directory.known).toBe(true);
  });

  test('and silent does not hold up the stop', async () => {
    const asked = Promise.withResolvers<void>();
    const silent = createServer(() => asked.resolve());
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    const own = settings({ ...deaf, MULTI_TENANT_URL: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` });
    const { log, lines } = testLog();
    const directory = new TenantDirectory(createTenantManagerClient(own), own, log);
    directory.start();
    await asked.promise;
    const began = performance.now();
    await directory.stop();
    expect(performance.now() - began).toBeLessThan(1000);
    expect(lines).toEqual([]);
    silent.closeAllConnections();
    silent.close();
  });
});

describe('stop ends everything, so that a process that only has a directory ends by itself', () => {
  const program = `
    import { once } from 'node:events';
    import { loadSettings } from '@matcher/shared/config/load.ts';
    import { createLog } from '@matcher/shared/observability/log.ts';
    import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
    import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
    const settings = loadSettings('publisher');
    const subscribed = Promise.withResolvers();
    const log = createLog(settings, 'test', { write: (line) => line.includes('"subscribed') && subscribed.resolve() });
    const directory = new TenantDirectory(createTenantSource(settings), settings, log);
    directory.start();
    if (process.env.STOP_WHEN === 'subscribed') await subscribed.promise;
    if (process.env.STOP_WHEN === 'compared') await once(directory, 'compared');
    await directory.stop();
  `;

  test.each<[string, NodeJS.ProcessEnv]>([
    ['at once after the start', { STOP_WHEN: 'started' }],
    ['after the first list', { STOP_WHEN: 'compared' }],
    ['after the subscription', { STOP_WHEN: 'subscribed' }],
    ['with Redis away', { STOP_WHEN: 'compared', MULTI_TENANT_REDIS_PORT: '1' }],
    ['with the Tenant Manager away', { STOP_WHEN: 'subscribed', MULTI_TENANT_URL: 'http://127.0.0.1:1' }],
  ])('%s', async (_when, env) => {
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
      cwd: resolve(import.meta.dirname, '../..'),
      env: {
        ...process.env,
        MULTI_TENANT_ENABLED: 'true',
        MULTI_TENANT_URL: manager.address,
        MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY,
        MULTI_TENANT_ENVIRONMENT: `test-${randomBytes(4).toString('hex')}`,
        ...env,
      },
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: 15_000,
    });
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});
