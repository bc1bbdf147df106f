import { once } from 'node:events';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { everySecond, type SchedulerFleet, secondOf, startSchedulerFleet } from '../support/scheduler.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 100_000, interval: 20 });

let fleet: SchedulerFleet;
let manager: ManagerProxy;

beforeAll(async () => {
  fleet = await startSchedulerFleet({ MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
  manager = await startManagerProxy(fleet.manager.address);
});
afterAll(async () => {
  await fleet?.close();
  await manager?.close();
});

test('a scheduler that is killed in the middle of its firings loses none of them, and none is published twice', async () => {
  const tenant = await fleet.tenant();
  await tenant.context('bank', everySecond);
  const messages = await tenant.consume();
  const victim = await fleet.spawnScheduler();
  await until(() => messages.length >= 2);
  // Firings stand still where they look at their context.
  await tenant.client.query('BEGIN; LOCK TABLE contexts IN ACCESS EXCLUSIVE MODE');
  await until(async () => {
    const { rows } = await tenant.client.query(
      `SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database WHERE datname = current_database() AND NOT granted`,
    );
    return rows.length >= 2;
  });
  const survivor = await fleet.spawnScheduler();
  victim.kill('SIGKILL');
  await once(victim, 'exit');
  const killedAt = Math.floor(Date.now() / 1000);
  await tenant.client.query('ROLLBACK');
  await until(() => fleet.logged('what another process had begun is taken over', `"pid":${survivor.pid},`).length >= 2);
  await until(() => Math.max(...messages.map(secondOf)) >= killedAt + 3);
  await until(() => fleet.unaccounted(tenant, messages, killedAt + 3).length === 0);
  expect(new Set(messages.map(secondOf)).size).toBe(messages.length);
  await fleet.manager.remove(tenant.id);
});

test('tenants whose databases swallow everything hold up neither the firings nor the maintenance of others', async () => {
  const { POSTGRES_HOST = '', POSTGRES_PORT } = fleet.manager.settings;
  const hole = await startTcpProxy(POSTGRES_HOST, POSTGRES_PORT);
  hole.mode = 'swallow';
  try {
    const well = await fleet.tenant();
    const dead = await Promise.all([fleet.tenant(), fleet.tenant(), fleet.tenant()]);
    await well.context('bank', everySecond);
    for (const tenant of dead) await tenant.context('bank', everySecond);
    const messages = await well.consume();
    const [one] = dead;
    const theirs = await one.consume();
    const scheduler = await fleet.scheduler({ MULTI_TENANT_URL: manager.address, MAINTENANCE_INTERVAL_SEC: '2' });
    await until(() => [well, ...dead].every(({ id }) => fleet.logged('scheduled', id).length > 0));
    for (const { id } of dead) {
      manager.detours.set(id, { postgresPort: hole.port });
      await fleet.manager.limits(id, { maxOpenConns: 5 });
    }
    await until(() => fleet.logged('a step of the maintenance failed').length > 0);
    await until(() => fleet.logged('a scheduled run cannot be published for now').length > 0);
    const metric = async (line: string) => {
      const text = await (await fetch(`http://127.0.0.1:${scheduler.port}/metrics`)).text();
      return Number(
        text
          .split('\n')
          .find((one) => one.startsWith(`${line} `))
          ?.split(' ')[1] ?? 0,
      );
    };
    const done = await metric('matcher_maintenance_total{outcome="done"}');
    const before = messages.length;
    await until(() => messages.length >= before + 8);
    await until(async () => (await metric('matcher_maintenance_total{outcome="done"}')) > done);
    // The healthy tenant has lost no second to them.
    const since = messages.slice(before);
    expect(fleet.unaccounted(well, since, Math.max(...since.map(secondOf)))).toEqual([]);
    // And when they are back, so are their runs.
    const had = theirs.length;
    hole.mode = 'forward';
    hole.cut();
    await until(() => theirs.length > had);
    await scheduler.stop();
  } finally {
    await hole.close();
  }
});
