import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { type Effect, effects } from '@matcher/shared/tenancy/lifecycle-listener.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { type LifecycleEventType, lifecycleChannel, lifecycleEventTypes } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { until } from '../support/fleet.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { type Fixture, startFixture } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';
import { startTlsProxy } from '../support/tls-proxy.ts';

vi.setConfig({ testTimeout: 60_000 });

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
  const metrics = createMetrics();
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
    metrics,
  );
  running.push(directory);
  const changes: [string, TenantId][] = [];
  for (const what of ['added', 'removed', 'changed'] as const) {
    directory.on(what, (tenantId) => changes.push([what, tenantId]));
  }
  directory.start();
  const logged = (text: string) => lines.filter((line) => line.includes(text));
  await until(() => directory.known && (!own.MULTI_TENANT_REDIS_HOST || logged('subscribed').length > 0));
  // The subscription is itself a reason to compare.
  await directory.compare();
  return { directory, changes, asked, logged, metrics };
}

const suspend = (id: string) => manager.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`);
const reactivate = (id: string) => manager.call('PUT', `/v1/tenants/${id}/reactivate`);
const deaf = { MULTI_TENANT_REDIS_HOST: '' };

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

/** A source that knows no more than a list. */
const listOnly = (list: () => Promise<TenantId[]>): TenantSource => ({
  listActive: list,
  config: () => Promise.reject(new Error('nobody asks')),
  refresh: () => Promise.reject(new Error('nobody asks')),
  forget: () => {},
});

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
  test('an empty list where there was a full one is not believed at once, however often it is read in a moment', async () => {
    let list = tenants;
    const { directory, changes, logged } = await startDirectory(
      deaf,
      listOnly(async () => list),
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
      listOnly(async () => list),
    );
    list = [];
    await until(() => directory.active.size === 0);
  });

  test('also where there was one tenant only', async () => {
    let list = tenants.slice(0, 1);
    const { directory } = await startDirectory(
      deaf,
      listOnly(async () => list),
    );
    list = [];
    for (let i = 0; i < 10; i++) await directory.compare();
    expect(directory.active.size).toBe(1);
  });

  test('a tenant that an event has called gone, too, is gone at once; the others stay', async () => {
    let list = tenants;
    const { directory } = await startDirectory(
      {},
      listOnly(async () => list),
    );
    list = [];
    const [gone, other] = tenants;
    await redis.publish(channel(), JSON.stringify(event({ event_type: 'tenant.deleted', tenant_id: gone })));
    await until(() => directory.active.size === 1);
    await directory.compare();
    expect([...directory.active]).toEqual([other]);
  });

  test('what an event said before a list that knew better no longer counts', async () => {
    let list = tenants.slice(0, 1);
    const { directory, asked } = await startDirectory(
      {},
      listOnly(async () => list),
    );
    const before = asked.lists;
    await redis.publish(channel(), JSON.stringify(event({ event_type: 'tenant.suspended', tenant_id: list[0] })));
    await until(() => asked.lists > before);
    await directory.compare();
    list = [];
    await directory.compare();
    expect(directory.active.size).toBe(1);
  });
});

describe('a tenant whose own configuration is refused', () => {
  test('is not active though a stale list names it, and is when its configuration answers again', async () => {
    const [refused, other] = [newTenantId(), newTenantId()];
    const { directory, changes } = await startDirectory(
      deaf,
      listOnly(async () => [refused, other]),
    );
    directory.refuse(refused);
    await directory.compare();
    expect([...directory.active]).toEqual([other]);
    expect([...directory.refused]).toEqual([refused]);
    directory.readmit(refused);
    await directory.compare();
    expect(directory.active.has(refused)).toBe(true);
    expect(changes.filter(([, id]) => id === refused).map(([what]) => what)).toEqual(['added', 'removed', 'added']);
  });

  test('goes on while the list can’t be read either: what stands in front of the Tenant Manager refuses everything', async () => {
    const known = newTenantId();
    let away = false;
    const { directory } = await startDirectory(
      deaf,
      listOnly(async () => {
        if (away) throw new Error('not found');
        return [known];
      }),
    );
    away = true;
    directory.refuse(known);
    await directory.compare();
    expect([...directory.active]).toEqual([known]);
    directory.readmit(known);
    away = false;
    await directory.compare();
    expect([...directory.active]).toEqual([known]);
  });

  test('is forgotten once the list does not name it any more', async () => {
    const refused = newTenantId();
    let list = [refused, newTenantId()];
    const { directory } = await startDirectory(
      deaf,
      listOnly(async () => list),
    );
    directory.refuse(refused);
    list = list.slice(1);
    await directory.compare();
    expect(directory.refused.size).toBe(0);
    list.push(refused);
    await directory.compare();
    expect(directory.active.has(refused)).toBe(true);
  });

  test('gets its chance at once when an event says that it is active again', async () => {
    const refused = newTenantId();
    const { directory } = await startDirectory(
      {},
      listOnly(async () => [refused]),
    );
    directory.refuse(refused);
    await directory.compare();
    await redis.publish(
      channel(),
      JSON.stringify(event({ event_type: 'tenant.service.reactivated', tenant_id: refused })),
    );
    await until(() => directory.active.has(refused));
  });
});

describe('every type of event has its reaction', () => {
  test.each(lifecycleEventTypes.map((type): [LifecycleEventType, Effect] => [type, effects[type]]))(
    '%s: %s',
    async (type, effect) => {
      const tenantId = newTenantId();
      const list = effect === 'appear' ? [] : [tenantId];
      const { directory, asked, changes, metrics } = await startDirectory(
        {},
        listOnly(async () => [...list]),
      );
      const before = { lists: asked.lists, changes: changes.length };
      if (effect === 'appear') list.push(tenantId);
      if (effect === 'disappear') list.pop();
      // As they come: those about the tenant as a whole name no service.
      const payload = type.split('.').length === 2 ? undefined : { service_name: 'matcher' };
      await redis.publish(channel(), JSON.stringify(event({ event_type: type, tenant_id: tenantId, payload })));
      await until(() => changes.length > before.changes);
      const what = { appear: 'added', disappear: 'removed', change: 'changed' }[effect];
      expect(changes.slice(before.changes)).toEqual([[what, tenantId]]);
      expect(asked.forgotten).toContain(tenantId);
      // A configuration that changed is no reason to read the list.
      expect(asked.lists - before.lists).toBe(effect === 'change' ? 0 : 1);
      expect((await metrics.lifecycleEvents.get()).values).toMatchObject([{ labels: { type }, value: 1 }]);
      await directory.compare();
      const { values } = await metrics.discoveryLag.get();
      const count = values.find(({ metricName }) => metricName?.endsWith('_count'))?.value ?? 0;
      expect(count).toBe(effect === 'change' ? 0 : 1);
    },
  );

  test('one about a tenant that is served already says that it may be somewhere else now', async () => {
    const tenantId = newTenantId();
    const { changes } = await startDirectory(
      {},
      listOnly(async () => [tenantId]),
    );
    await redis.publish(
      channel(),
      JSON.stringify(event({ event_type: 'tenant.service.reactivated', tenant_id: tenantId })),
    );
    await until(() => changes.some(([what, id]) => what === 'changed' && id === tenantId));
  });
});

describe('the subscription', () => {
  test('that falls silent without an error is noticed and made anew', async () => {
    const { MULTI_TENANT_REDIS_HOST: host, MULTI_TENANT_REDIS_PORT: port } = process.env;
    const proxy = await startTcpProxy(host as string, Number(port));
    const { directory, logged } = await startDirectory({
      MULTI_TENANT_REDIS_HOST: '127.0.0.1',
      MULTI_TENANT_REDIS_PORT: String(proxy.port),
    });
    proxy.mode = 'swallow';
    const { tenantId } = await manager.onboard();
    await until(() => logged('the subscription is silent').length > 0);
    // So is the next one, from its first word.
    await until(() => logged('Redis is not reachable').length > 0);
    expect(directory.active.has(tenantId)).toBe(false);
    proxy.mode = 'forward';
    await until(() => directory.active.has(tenantId));
    await directory.stop();
    await proxy.close();
  });

  test('goes over TLS when MULTI_TENANT_REDIS_TLS says so, and the certificate is checked', async () => {
    const { MULTI_TENANT_REDIS_HOST: host, MULTI_TENANT_REDIS_PORT: port } = process.env;
    const proxy = await startTlsProxy(host as string, Number(port));
    const env = {
      MULTI_TENANT_REDIS_HOST: proxy.host,
      MULTI_TENANT_REDIS_PORT: String(proxy.port),
      MULTI_TENANT_REDIS_TLS: 'true',
    };
    const trusting = runDirectory({ ...env, STOP_WHEN: 'subscribed', NODE_EXTRA_CA_CERTS: proxy.ca.file });
    expect(await trusting.exit).toEqual([0, null]);
    expect(proxy.handshakes).toBe(1);
    const doubting = runDirectory({ ...env, STOP_WHEN: 'refused' });
    expect(await doubting.exit).toEqual([0, null]);
    expect(doubting.output()).toMatch(/unable to (verify|get local issuer)|self.signed/);
    expect(doubting.output()).not.toContain('subscribed to tenant events');
    await proxy.close();
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

const program = `
  import { once } from 'node:events';
  import { loadSettings } from '@matcher/shared/config/load.ts';
  import { createLog } from '@matcher/shared/observability/log.ts';
  import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
  import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
  const settings = loadSettings('publisher');
  const logged = { subscribed: Promise.withResolvers(), refused: Promise.withResolvers() };
  const log = createLog(settings, 'test', {
    write: (line) => {
      process.stdout.write(line);
      if (line.includes('"subscribed')) logged.subscribed.resolve();
      if (line.includes('Redis is not reachable')) logged.refused.resolve();
    },
  });
  const directory = new TenantDirectory(createTenantSource(settings), settings, log);
  directory.start();
  await logged[process.env.STOP_WHEN]?.promise;
  if (process.env.STOP_WHEN === 'compared') await once(directory, 'compared');
  await directory.stop();
`;

/** A process that only has a directory. */
function runDirectory(env: NodeJS.ProcessEnv) {
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
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return { output: () => text, exit: once(child, 'exit') };
}

describe('stop ends everything, so that a process that only has a directory ends by itself', () => {
  test.each<[string, NodeJS.ProcessEnv]>([
    ['at once after the start', { STOP_WHEN: 'started' }],
    ['after the first list', { STOP_WHEN: 'compared' }],
    ['after the subscription', { STOP_WHEN: 'subscribed' }],
    ['with Redis away', { STOP_WHEN: 'compared', MULTI_TENANT_REDIS_PORT: '1' }],
    ['with the Tenant Manager away', { STOP_WHEN: 'subscribed', MULTI_TENANT_URL: 'http://127.0.0.1:1' }],
  ])('%s', async (_when, env) => {
    expect(await runDirectory(env).exit).toEqual([0, null]);
  });
});
