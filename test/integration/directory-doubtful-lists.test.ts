import { MatcherError } from '@matcher/shared/errors.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { type Directories, deaf, listOnly, startDirectories } from '../support/directories.ts';
import { until } from '../support/fleet.ts';

vi.setConfig({ testTimeout: 60_000 });

let directories: Directories;

beforeAll(async () => {
  directories = await startDirectories();
});
afterEach(() => directories.stopAll());
afterAll(() => directories.close());

describe('a list that cannot be right', () => {
  const tenants = [newTenantId(), newTenantId()];
  test('an empty list where there was a full one is not believed at once, however often it is read in a moment', async () => {
    let list = tenants;
    const { directory, changes, logged } = await directories.start(
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
    const { directory } = await directories.start(
      everySecond,
      listOnly(async () => list),
    );
    list = [];
    await until(() => directory.active.size === 0);
  });

  test('also where there was one tenant only', async () => {
    let list = tenants.slice(0, 1);
    const { directory } = await directories.start(
      deaf,
      listOnly(async () => list),
    );
    list = [];
    for (let i = 0; i < 10; i++) await directory.compare();
    expect(directory.active.size).toBe(1);
  });

  test('a tenant that an event has called gone, too, is gone at once; the others stay', async () => {
    let list = tenants;
    const { directory } = await directories.start(
      {},
      listOnly(async () => list),
    );
    list = [];
    const [gone, other] = tenants;
    await directories.publish(directories.event({ event_type: 'tenant.deleted', tenant_id: gone }));
    await until(() => directory.active.size === 1);
    await directory.compare();
    expect([...directory.active]).toEqual([other]);
  });

  test('what an event said before a list that knew better no longer counts', async () => {
    let list = tenants.slice(0, 1);
    const { directory, asked } = await directories.start(
      {},
      listOnly(async () => list),
    );
    const before = asked.lists;
    await directories.publish(directories.event({ event_type: 'tenant.suspended', tenant_id: list[0] }));
    await until(() => asked.lists > before);
    await directory.compare();
    list = [];
    await directory.compare();
    expect(directory.active.size).toBe(1);
  });
});

describe('a list that has lost a part of itself', () => {
  const everySecond = { ...deaf, MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' };
  const gone = new MatcherError('TENANT_NOT_FOUND', 'unknown', { remedy: 'not-now' });
  const away = new MatcherError('TENANT_MANAGER_UNAVAILABLE', 'away', { remedy: 'not-now' });

  /** Names all tenants until `list` is another one; says of each tenant what `say` does. */
  function losing(count: number, say: (tenantId: TenantId) => Promise<unknown>) {
    const tenants = Array.from({ length: count }, () => newTenantId());
    const state = { list: tenants };
    const source = { ...listOnly(async () => state.list), refresh: say } as TenantSource;
    return { tenants, state, source };
  }

  test('costs no tenant that is still there: each is asked for, and goes on', async () => {
    const { tenants, state, source } = losing(100, async () => ({}));
    const { directory, changes, asked, logged } = await directories.start(everySecond, source);
    state.list = tenants.slice(0, 50);
    const lists = asked.lists;
    await until(() => asked.lists >= lists + 4);
    expect(directory.active.size).toBe(100);
    expect(changes.filter(([what]) => what === 'removed')).toEqual([]);
    expect(new Set(asked.refreshed)).toEqual(new Set(tenants.slice(50)));
    expect(logged('lacks a tenant that is there').length).toBeGreaterThanOrEqual(50);
    // And whoever is named again is not asked for any more.
    state.list = tenants;
    await directory.compare();
    const questions = asked.refreshed.length;
    await directory.compare();
    expect(asked.refreshed).toHaveLength(questions);
  });

  test('and a tenant that is gone is removed as soon as its own answer says so', async () => {
    const { tenants, state, source } = losing(3, async () => Promise.reject(gone));
    const { directory, asked } = await directories.start(deaf, source);
    state.list = tenants.slice(1);
    await directory.compare();
    await until(() => directory.active.size === 2);
    expect(asked.refreshed).toEqual(tenants.slice(0, 1));
  });

  test('where the tenants can’t be asked for, two lists have to agree, and a moment’s burst of comparisons is one', async () => {
    const { tenants, state, source } = losing(4, async () => Promise.reject(away));
    const { directory, asked } = await directories.start(everySecond, source);
    state.list = tenants.slice(2);
    const began = performance.now();
    for (let i = 0; i < 10; i++) await directory.compare();
    if (performance.now() - began < 500) expect(directory.active.size).toBe(4);
    await until(() => directory.active.size === 2);
    expect(performance.now() - began).toBeGreaterThan(500);
    expect(asked.refreshed.length).toBeLessThanOrEqual(4);
  });

  test('one that is complete again at the second look has cost nobody anything', async () => {
    const { tenants, state, source } = losing(4, async () => Promise.reject(away));
    const { directory, changes } = await directories.start(deaf, source);
    state.list = tenants.slice(2);
    await directory.compare();
    state.list = tenants;
    await directory.compare();
    expect([directory.active.size, changes.length]).toEqual([4, 4]);
  });

  test('a thousand tenants are asked for a few at a time', async () => {
    let [now, most] = [0, 0];
    const { tenants, state, source } = losing(1000, async () => {
      most = Math.max(most, ++now);
      await new Promise(setImmediate);
      now--;
      throw gone;
    });
    const { directory, asked } = await directories.start(deaf, source);
    state.list = tenants.slice(0, 1);
    // However often it is looked meanwhile, nobody is asked for twice.
    for (let i = 0; i < 5; i++) await directory.compare();
    await until(() => directory.active.size === 1);
    expect(most).toBeLessThanOrEqual(8);
    expect(asked.refreshed).toHaveLength(999);
  });

  test('a tenant that an event has called gone is not asked for', async () => {
    const { tenants, state, source } = losing(2, async () => ({}));
    const { directory, asked } = await directories.start({}, source);
    state.list = tenants.slice(1);
    await directories.publish(directories.event({ event_type: 'tenant.suspended', tenant_id: tenants[0] }));
    await until(() => directory.active.size === 1);
    expect(asked.refreshed).toEqual([]);
  });
});
