import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type AmqpProxy, startAmqpProxy } from '../support/amqp-proxy.ts';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let manager: ManagerProxy;
let broker: AmqpProxy;
let tenant: TestTenant;

beforeEach(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  broker = await startAmqpProxy(fleet.settings.RABBITMQ_HOST ?? '', fleet.settings.RABBITMQ_PORT);
  tenant = await fleet.tenant();
  manager.detours.set(tenant.id, { rabbitmqPort: broker.port });
});
afterEach(async () => {
  await fleet?.close();
  await broker?.close();
  await manager?.close();
});

const env = () => ({ MULTI_TENANT_URL: manager.address, MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
const publish = () => tenant.client.publish('context.apply', { version: 1, context: simpleContext() });
const renewed = (what: string) => fleet.lines.filter((line) => line.includes(`"renewed":"${what}"`));
/** A worker subscribes to its four queues one after the other on each channel. */
const queues = 4;

test('reconnected but not consuming: a backlog and no delivery make the channel new, and the jobs are done', async () => {
  broker.deaf = (n) => n <= queues;
  const id = await publish();
  await fleet.worker(env());
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  expect(renewed('channel')).toHaveLength(1);
  expect(renewed('connection')).toEqual([]);
  expect(broker.connections).toBe(1);
});

test('and deaf on a new channel, too: the connection is made new, and the jobs are done', async () => {
  broker.deaf = (_n, connection) => connection === 1;
  const id = await publish();
  await fleet.worker(env());
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  expect([renewed('channel').length, renewed('connection').length]).toEqual([1, 1]);
  expect(broker.connections).toBe(2);
});

test('and deaf on a new connection, too: the process ends in order with an error, and its message is there for the next one', async () => {
  broker.deaf = () => true;
  const id = await publish();
  const worker = await fleet.spawnWorker('matching', env());
  const [code] = await once(worker, 'exit');
  expect(code).toBe(1);
  expect(fleet.lines.some((line) => line.includes('CONSUMER_DEAF') && line.includes('"level":"fatal"'))).toBe(true);
  expect(fleet.lines.some((line) => line.includes('"msg":"stopped"') && line.includes(`"pid":${worker.pid},`))).toBe(
    true,
  );
  broker.deaf = () => false;
  await fleet.worker(env());
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
});

test('a tenant whose jobs wait because all slots are busy is not taken for deaf', async () => {
  await fleet.worker({ ...env(), JOB_SLOTS: '1' });
  const first = await publish();
  await tenant.client.follow(first);
  const held = await tenant.hold('contexts');
  const changed = simpleContext({ name: 'other' });
  const ids = Array.from({ length: 6 }, () => randomUUID());
  for (const id of ids) await tenant.client.publish('context.apply', { version: 1, context: changed }, { id });
  await until(held.waiting);
  const connection = await openVhost(tenant.config.rabbitmq);
  const channel = await connection.createChannel();
  await until(async () => (await channel.checkQueue(jobQueue('context.apply'))).messageCount === 4);
  // Several looks go by; each is a round of calls for the configuration, which the same interval paces.
  const calls = () => manager.calls.filter((call) => call.includes(tenant.id)).length;
  const before = calls();
  await until(() => calls() >= before + 4);
  expect(fleet.lines.filter((line) => line.includes('"renewed"'))).toEqual([]);
  await held.release();
  for (const id of ids) expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  await connection.close();
});
