import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { type Directories, deaf, listOnly, startDirectories } from '../support/directories.ts';
import { until } from '../support/fleet.ts';
import { startFixture } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';

vi.setConfig({ testTimeout: 60_000 });

let directories: Directories;

beforeAll(async () => {
  directories = await startDirectories();
});
afterEach(() => directories.stopAll());
afterAll(() => directories.close());

test('after a restart the list is read: what was active before is active without any event', async () => {
  const { tenantId } = await directories.manager.onboard();
  const { directory, changes } = await directories.start(deaf);
  expect(directory.active.has(tenantId)).toBe(true);
  expect(changes).toContainEqual(['added', tenantId]);
});

test('a tenant that was created and not associated is not active', async () => {
  const id = await directories.manager.create();
  const { directory } = await directories.start(deaf);
  expect([...directory.active]).not.toContain(id);
});

test('a new tenant is added within a second of its event; suspended it is removed, reactivated added again', async () => {
  const { directory, changes, asked } = await directories.start();
  const { tenantId } = await directories.manager.onboard();
  const answered = performance.now();
  await until(() => directory.active.has(tenantId));
  expect(performance.now() - answered).toBeLessThan(1000);
  await directories.suspend(tenantId);
  await until(() => !directory.active.has(tenantId));
  expect(asked.forgotten).toContain(tenantId);
  await directories.reactivate(tenantId);
  await until(() => directory.active.has(tenantId));
  expect(changes.filter(([, id]) => id === tenantId).map(([change]) => change)).toEqual(['added', 'removed', 'added']);
});

test('events that nobody heard are made up for by the next comparison', async () => {
  const { directory } = await directories.start({ ...deaf, MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
  const { tenantId } = await directories.manager.onboard();
  await until(() => directory.active.has(tenantId));
  await directories.suspend(tenantId);
  await until(() => !directory.active.has(tenantId));
});

describe('a tenant whose own configuration is refused', () => {
  test('is not active though a stale list names it, and is when its configuration answers again', async () => {
    const [refused, other] = [newTenantId(), newTenantId()];
    const { directory, changes } = await directories.start(
      deaf,
      listOnly(async () => [refused, other]),
    );
    directory.refuse(refused, 'TENANT_SUSPENDED');
    await directory.compare();
    expect([...directory.active]).toEqual([other]);
    expect([...directory.refused]).toEqual([[refused, 'TENANT_SUSPENDED']]);
    directory.readmit(refused);
    await directory.compare();
    expect(directory.active.has(refused)).toBe(true);
    expect(changes.filter(([, id]) => id === refused).map(([what]) => what)).toEqual(['added', 'removed', 'added']);
  });

  test('goes on while the list can’t be read either: what stands in front of the Tenant Manager refuses everything', async () => {
    const known = newTenantId();
    let away = false;
    const { directory } = await directories.start(
      deaf,
      listOnly(async () => {
        if (away) throw new Error('not found');
        return [known];
      }),
    );
    away = true;
    directory.refuse(known, 'TENANT_SUSPENDED');
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
    const { directory } = await directories.start(
      deaf,
      listOnly(async () => list),
    );
    directory.refuse(refused, 'TENANT_SUSPENDED');
    list = list.slice(1);
    await directory.compare();
    expect(directory.refused.size).toBe(0);
    list.push(refused);
    await directory.compare();
    expect(directory.active.has(refused)).toBe(true);
  });
});

describe('a Tenant Manager that is away', () => {
  test('changes nothing for what is known', async () => {
    const own = await startFixture();
    const { tenantId } = await own.onboard();
    const { directory, changes, logged } = await directories.start({
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
    const { tenantId } = await directories.manager.onboard();
    const client = createTenantManagerClient(directories.settings());
    const directory = new TenantDirectory(
      {
        ...client,
        listActive: async () => {
          if (away) throw new Error('away');
          return client.listActive();
        },
      },
      directories.settings(deaf),
      testLog().log,
    );
    onTestFinished(() => directory.stop());
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
    const own = directories.settings({
      ...deaf,
      MULTI_TENANT_URL: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
    });
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
