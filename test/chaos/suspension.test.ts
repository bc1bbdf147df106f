import { randomUUID } from 'node:crypto';
import { delayExchange, jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { backends, brokerConnections } from '../support/server-side.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let other: TestTenant;

/** One hears events and reads the list only because of them; the other one has the list alone. */
const workers = 2;

beforeAll(async () => {
  // The lease is long, so that no job that is held up exchanges its message for one in a delay queue.
  const overrides = { JOB_SLOTS: '16', DRAIN_TIMEOUT_SEC: '60', JOB_LEASE_SEC: '30' };
  fleet = await startFleet({ workers: 0, overrides });
  other = await fleet.tenant();
  await fleet.worker({ MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600' });
  await fleet.worker({ MULTI_TENANT_REDIS_HOST: '', MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
  await other.done('context.apply', { version: 1, context: simpleContext() });
});
afterAll(() => fleet?.close());

const call = async (method: string, path: string, body?: unknown) => {
  expect(await fleet.manager.call(method, path, body)).toMatchObject({ status: expect.toSatisfy((s) => s < 300) });
};

/** What makes a tenant inactive, and active again. */
const ways: [string, (id: string) => Promise<void>, (id: string) => Promise<void>][] = [
  ['a suspended service', (id) => fleet.manager.suspend(id), (id) => fleet.manager.reactivate(id)],
  ['a suspended tenant', (id) => call('PUT', `/v1/tenants/${id}/suspend`), (id) => fleet.manager.reactivate(id)],
  ['a deleted tenant', (id) => call('DELETE', `/v1/tenants/${id}`), (id) => fleet.manager.reactivate(id)],
  [
    'a removed service',
    (id) => fleet.manager.remove(id),
    (id) => call('POST', `/v1/tenants/${id}/associations/matcher`, { isolationMode: 'isolated' }),
  ],
];

/** Whether no worker has a connection to the tenant's database or vhost. */
const isClosed = async (tenant: TestTenant) =>
  (await backends(fleet, tenant, 'workers')) === 0 && (await brokerConnections(fleet, tenant, 'workers')).length === 0;

/** The test's own look into the tenant's queues. */
async function queuesOf({ config }: TestTenant) {
  const connection = await openVhost(config.rabbitmq);
  const channel = await connection.createChannel();
  return {
    // A quorum queue counts a cancelled consumer as long as it has messages: this one has no job that lasts.
    consumers: async () => (await channel.checkQueue(jobQueue('context.apply'))).consumerCount,
    messages: async (queue: string) => (await channel.checkQueue(queue)).messageCount,
    close: () => connection.close(),
  };
}

const apply = (name: string) => ({ version: 1, context: simpleContext({ name }) }) as const;
const match = { version: 1, context: 'bank' } as const;

async function tenantWithPairs(pairs: number): Promise<TestTenant> {
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', apply('bank'));
  await loadPairs(tenant, pairs);
  return tenant;
}

describe.concurrent('in the middle of jobs', () => {
  test.each(ways)(
    '%s takes no new job, ends the running one, closes everything, and loses or repeats nothing when it comes back',
    async (_what, leave, comeBack) => {
      const tenant = await tenantWithPairs(5);
      const queues = await queuesOf(tenant);
      await until(async () => (await queues.consumers()) === workers);
      const held = await tenant.hold('match_groups');
      const running = await tenant.client.publish('matching.run', match);
      await until(held.waiting);
      // Its context is busy: it goes to and fro between its queue and a delay.
      const putOff = await tenant.client.publish('matching.run', match);
      await until(() => fleet.lines.some((line) => line.includes(putOff) && line.includes('CONTEXT_BUSY')));

      await leave(tenant.id);
      await until(async () => (await queues.consumers()) === 0);
      const late = [randomUUID(), randomUUID(), randomUUID()];
      for (const id of late) await tenant.client.publish('context.apply', apply('late'), { id });
      // Others go on; the running job is still there, with its connections.
      await other.done('context.apply', apply('bank'));

      expect(await held.waiting()).toBe(true);
      await held.release();
      expect(await tenant.client.follow(running)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
      await until(() => isClosed(tenant));
      await until(async () => (await queues.messages(jobQueue('matching.run'))) === 1);
      expect(await queues.messages(jobQueue('context.apply'))).toBe(late.length);
      for (const seconds of [1, 5, 30]) expect(await queues.messages(delayExchange(seconds))).toBe(0);
      expect(await tenant.query('SELECT id FROM jobs WHERE id = ANY($1)', [late])).toEqual([]);

      await comeBack(tenant.id);
      await until(async () => (await queues.consumers()) === workers);
      expect(await tenant.client.follow(putOff)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 0 } });
      for (const id of late) expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
      const { rabbitmq: _, ...config } = await fleet.manager.connections(tenant.id);
      expect(config.postgres.database).toBe(tenant.config.postgres.database);
      expect(await tenant.query('SELECT DISTINCT state, attempt FROM jobs')).toEqual([
        { state: 'SUCCEEDED', attempt: 1 },
      ]);
      expect(await tenant.query('SELECT fence FROM jobs WHERE id = ANY($1)', [[running, ...late]])).toEqual(
        Array(4).fill({ fence: '1' }),
      );
      expect(await tenant.query('SELECT count(*)::int AS items FROM match_items')).toEqual([{ items: 10 }]);
      await queues.close();
    },
  );
});

test('a job that does not end while its suspended tenant is drained goes back to its queue, is charged nothing, and is done when the tenant comes back', async () => {
  const own = await startFleet({ workers: 0 });
  const tenant = await own.tenant();
  await own.worker({ DRAIN_TIMEOUT_SEC: '1' });
  await tenant.done('context.apply', apply('bank'));
  await loadPairs(tenant, 5);
  const held = await tenant.hold('match_groups');
  const id = await tenant.client.publish('matching.run', match);
  await until(held.waiting);
  await own.manager.suspend(tenant.id);
  const queues = await queuesOf(tenant);
  await until(async () => (await queues.messages(jobQueue('matching.run'))) === 1);
  expect(await tenant.query('SELECT state, attempt FROM jobs WHERE id = $1', [id])).toEqual([
    { state: 'WAITING', attempt: 0 },
  ]);
  await held.release();
  await until(() => isClosed(tenant));
  await own.manager.reactivate(tenant.id);
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
  expect(await tenant.query('SELECT attempt, fence FROM jobs WHERE id = $1', [id])).toEqual([
    { attempt: 1, fence: '2' },
  ]);
  await queues.close();
  await own.close();
});
