import { type Effect, effects } from '@matcher/shared/tenancy/lifecycle-listener.ts';
import { type LifecycleEventType, lifecycleEventTypes } from '@matcher/shared/tenancy/wire.ts';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { type Directories, listOnly, startDirectories } from '../support/directories.ts';
import { until } from '../support/fleet.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

vi.setConfig({ testTimeout: 60_000 });

let directories: Directories;

beforeAll(async () => {
  directories = await startDirectories();
});
afterEach(() => directories.stopAll());
afterAll(() => directories.close());

describe('an event changes nothing by itself', () => {
  test.each<[string, () => string | object]>([
    ['no JSON', () => 'associated'],
    ['null', () => 'null'],
    ['no object', () => '[]'],
    ['without a type', () => directories.event({ event_type: undefined })],
    ['without a tenant', () => directories.event({ tenant_id: undefined })],
    ['whose tenant is no identifier', () => directories.event({ tenant_id: '../etc' })],
    ['whose tenant is spelled as a URN', () => directories.event({ tenant_id: `urn:uuid:${newTenantId()}` })],
    ['of an unknown type', () => directories.event({ event_type: 'tenant.exploded' })],
    ['for another service', () => directories.event({ payload: { service_name: 'ledger' } })],
    ['of another environment', () => directories.event({ environment: 'production' })],
    ['whose payload is none', () => directories.event({ payload: 'matcher' })],
  ])('%s: it is dropped', async (_what, make) => {
    const { directory, asked } = await directories.start(
      {},
      listOnly(async () => []),
    );
    const before = [...asked.forgotten];
    const message = make();
    await directories.publish(message);
    // One that is heard, behind it: what was before it has been dealt with then.
    const known = directories.event();
    await directories.publish(known);
    await until(() => (asked.forgotten as string[]).includes(known.tenant_id));
    await directory.compare();
    expect(asked.forgotten).toEqual([...before, known.tenant_id]);
    expect([...directory.active]).toEqual([]);
  });

  test('late, repeated or forged: a stale “associated” does not start a suspended tenant', async () => {
    const { tenantId } = await directories.manager.onboard();
    const { directory, asked } = await directories.start();
    await directories.suspend(tenantId);
    await until(() => !directory.active.has(tenantId));
    const before = asked.forgotten.length;
    for (let i = 0; i < 3; i++) await directories.publish(directories.event({ tenant_id: tenantId }));
    await until(() => asked.forgotten.length === before + 3);
    await directory.compare();
    expect(directory.active.has(tenantId)).toBe(false);
  });

  test('a thousand events at once cost a few lists, not a thousand', async () => {
    const { directory, asked } = await directories.start();
    const before = { lists: asked.lists, forgotten: asked.forgotten.length };
    await Promise.all(Array.from({ length: 1000 }, () => directories.publish(directories.event())));
    await until(() => asked.forgotten.length === before.forgotten + 1000);
    await directory.compare();
    expect(asked.lists - before.lists).toBeLessThan(100);
  });
});

describe('every type of event has its reaction', () => {
  test.each(lifecycleEventTypes.map((type): [LifecycleEventType, Effect] => [type, effects[type]]))(
    '%s: %s',
    async (type, effect) => {
      const tenantId = newTenantId();
      const list = effect === 'appear' ? [] : [tenantId];
      const { directory, asked, changes, metrics } = await directories.start(
        {},
        listOnly(async () => [...list]),
      );
      const before = { lists: asked.lists, changes: changes.length };
      if (effect === 'appear') list.push(tenantId);
      if (effect === 'disappear') list.pop();
      // As they come: those about the tenant as a whole name no service.
      const payload = type.split('.').length === 2 ? undefined : { service_name: 'matcher' };
      await directories.publish(directories.event({ event_type: type, tenant_id: tenantId, payload }));
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
    const { changes } = await directories.start(
      {},
      listOnly(async () => [tenantId]),
    );
    await directories.publish(directories.event({ event_type: 'tenant.service.reactivated', tenant_id: tenantId }));
    await until(() => changes.some(([what, id]) => what === 'changed' && id === tenantId));
  });
});

describe('the subscription', () => {
  test('that falls silent without an error is noticed and made anew', async () => {
    const { MULTI_TENANT_REDIS_HOST: host, MULTI_TENANT_REDIS_PORT: port } = process.env;
    const proxy = await startTcpProxy(host as string, Number(port));
    const { directory, logged } = await directories.start({
      MULTI_TENANT_REDIS_HOST: '127.0.0.1',
      MULTI_TENANT_REDIS_PORT: String(proxy.port),
    });
    proxy.mode = 'swallow';
    const { tenantId } = await directories.manager.onboard();
    await until(() => logged('the subscription is silent').length > 0);
    // So is the next one, from its first word.
    await until(() => logged('Redis is not reachable').length > 0);
    expect(directory.active.has(tenantId)).toBe(false);
    proxy.mode = 'forward';
    await until(() => directory.active.has(tenantId));
    await directory.stop();
    await proxy.close();
  });
});

test('what was published while the subscription was cut is found when it stands again, without waiting for an interval', async () => {
  const { MULTI_TENANT_REDIS_HOST: host, MULTI_TENANT_REDIS_PORT: port } = process.env;
  const proxy = await startTcpProxy(host as string, Number(port));
  const { directory, logged } = await directories.start({
    MULTI_TENANT_REDIS_HOST: '127.0.0.1',
    MULTI_TENANT_REDIS_PORT: String(proxy.port),
  });
  proxy.mode = 'refuse';
  proxy.cut();
  const { tenantId } = await directories.manager.onboard();
  expect(directory.active.has(tenantId)).toBe(false);
  proxy.mode = 'forward';
  await until(() => directory.active.has(tenantId));
  expect(logged('subscribed')).toHaveLength(2);
  await directory.stop();
  await proxy.close();
});

test('gets its chance at once when an event says that it is active again', async () => {
  const refused = newTenantId();
  const { directory } = await directories.start(
    {},
    listOnly(async () => [refused]),
  );
  directory.refuse(refused, 'TENANT_SUSPENDED');
  await directory.compare();
  await directories.publish(directories.event({ event_type: 'tenant.service.reactivated', tenant_id: refused }));
  await until(() => directory.active.has(refused));
});

describe('a flood of events about tenants that nobody knows', () => {
  test('keeps nothing of them, starts no request for each, and a known tenant’s event is heard behind it', async () => {
    const known = newTenantId();
    const { directory, asked, changes } = await directories.start(
      {},
      listOnly(async () => [known]),
    );
    const before = { lists: asked.lists, forgotten: asked.forgotten.length, changes: changes.length };
    const began = performance.now();
    const types = ['tenant.credentials.rotated', 'tenant.service.suspended', 'tenant.service.associated'];
    const count = 30_000;
    for (let sent = 0; sent < count; sent += 1000) {
      await Promise.all(
        Array.from({ length: 1000 }, (_, i) =>
          directories.publish(directories.event({ event_type: types[i % 3] as string })),
        ),
      );
    }
    await directories.publish(directories.event({ event_type: 'tenant.credentials.rotated', tenant_id: known }));
    await until(() => changes.length > before.changes);
    expect(changes.slice(before.changes)).toEqual([['changed', known]]);
    expect(asked.forgotten.length).toBe(before.forgotten + count + 1);
    expect(asked.refreshed).toEqual([]);
    // One list per tenth of a second, and the one that was under way.
    expect(asked.lists - before.lists).toBeLessThanOrEqual((performance.now() - began) / 100 + 2);
    expect([...directory.active]).toEqual([known]);
  });
});
