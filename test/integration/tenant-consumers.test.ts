import type { RunningWorker } from '@matcher/shared/process/run-worker.ts';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import type { Channel } from 'amqplib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { asAdministrator, openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let manager: ManagerProxy;
let broker: TcpProxy;
let tenant: TestTenant;
let worker: RunningWorker;
let channel: Channel;
let disconnect: () => Promise<void>;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
});
afterAll(async () => {
  await fleet?.close();
  await manager?.close();
});
beforeEach(async () => {
  broker = await startTcpProxy(fleet.settings.RABBITMQ_HOST ?? '', fleet.settings.RABBITMQ_PORT);
  tenant = await fleet.tenant();
  manager.detours.set(tenant.id, { rabbitmqPort: broker.port });
  const connection = await openVhost(tenant.config.rabbitmq);
  channel = await connection.createChannel();
  disconnect = () => connection.close();
});
afterEach(async () => {
  broker.mode = 'forward';
  broker.delay = 0;
  await worker?.stop();
  await disconnect?.();
  await broker?.close();
});

const start = async (overrides: Record<string, string> = {}) => {
  worker = await fleet.worker({
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600',
    ...overrides,
  });
};
const consumers = async () => (await channel.checkQueue(jobQueue('matching.run'))).consumerCount;
const waiting = async () => (await channel.checkQueue(jobQueue('matching.run'))).messageCount;
const logged = (message: string) =>
  fleet.lines.filter((line) => line.includes(tenant.id) && line.includes(`"msg":"${message}"`)).length;
const apply = () => tenant.done('context.apply', { version: 1, context: simpleContext() });
const stopped = async (running: RunningWorker) => {
  const began = performance.now();
  await running.stop();
  return performance.now() - began;
};

describe('stop', () => {
  test('during a reconnect leaves no ghost consumer behind', async () => {
    await start();
    await until(async () => (await consumers()) === 1);
    broker.mode = 'refuse';
    broker.cut();
    await until(() => logged('cannot connect to the vhost') > 0);
    const stopping = worker.stop();
    // The broker is back at the very moment.
    broker.mode = 'forward';
    await stopping;
    expect(await consumers()).toBe(0);
    expect(broker.connections).toBe(0);
  });

  test('in the middle of subscribing leaves no ghost consumer behind, and no message with it', async () => {
    const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
    broker.delay = 20;
    const starting = start();
    // The subscriptions come one after the other.
    await until(async () => (await consumers()) === 1);
    expect(logged('consuming')).toBe(0);
    await starting;
    await worker.stop();
    await until(() => broker.connections === 0);
    expect(await consumers()).toBe(0);
    expect(await tenant.client.read(id).then((job) => job?.state ?? 'WAITING')).not.toBe('RUNNING');
  });

  test('with a broker that swallows everything ends all the same', async () => {
    await start();
    await until(async () => (await consumers()) === 1);
    broker.mode = 'swallow';
    expect(await stopped(worker)).toBeLessThan(20_000);
  });

  test('while the broker takes connections and says nothing ends at once', async () => {
    await start();
    await until(async () => (await consumers()) === 1);
    broker.mode = 'swallow';
    broker.cut();
    await until(() => broker.connections === 1);
    expect(await stopped(worker)).toBeLessThan(5000);
  });
});

test('suspended and reactivated in quick turn: never two consumers, and at the end exactly one', async () => {
  await start();
  await until(async () => (await consumers()) === 1);
  let most = 0;
  for (let round = 0; round < 5; round++) {
    await fleet.manager.suspend(tenant.id);
    most = Math.max(most, await consumers());
    await fleet.manager.reactivate(tenant.id);
    most = Math.max(most, await consumers());
  }
  await apply();
  await until(async () => (await consumers()) === 1);
  expect(most).toBeLessThanOrEqual(1);
  expect(broker.connections).toBe(1);
});

test('suspended in the middle of a job: the job ends, no other is begun, everything is closed; reactivated: what came meanwhile is done', async () => {
  await start();
  await apply();
  await loadPairs(tenant, 5);
  const held = await tenant.hold('match_groups');
  const running = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
  await until(held.waiting);
  await fleet.manager.suspend(tenant.id);
  await until(() => logged('takes no new job') > 0);
  const meanwhile = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
  await held.release();
  expect(await tenant.client.follow(running)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
  await until(() => logged('stopped consuming') > 0);
  expect(await waiting()).toBe(1);
  expect(await tenant.client.read(meanwhile)).toBeUndefined();
  expect(broker.connections).toBe(0);
  const connections = `SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND application_name NOT LIKE '%client%' AND application_name <> 'test'`;
  await until(async () => {
    const open = await asAdministrator(fleet.manager.settings, connections, [tenant.config.postgres.database]);
    return open.length === 0;
  });
  await fleet.manager.reactivate(tenant.id);
  expect(await tenant.client.follow(meanwhile)).toMatchObject({ state: 'SUCCEEDED' });
});
