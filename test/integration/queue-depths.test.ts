import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { readQueueDepths } from '@matcher/shared/rabbitmq/queue-depths.ts';
import { declareTopology } from '@matcher/shared/rabbitmq/topology.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { connect } from 'amqplib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../support/fleet.ts';
import { noJobs } from '../support/snapshots.ts';
import { type Fixture, startFixture } from '../support/tenant-manager.ts';

let manager: Fixture;
let tenant: TenantConfig;

beforeAll(async () => {
  manager = await startFixture();
  tenant = await manager.onboard();
});
afterAll(() => manager.close());

const none = {
  jobs: noJobs,
  delayed: 0,
  dead: 0,
};

test('a vhost without queues holds nothing, and nothing is declared there by looking', async () => {
  expect(await readQueueDepths(tenant.rabbitmq, 5000)).toEqual(none);
  expect(await readQueueDepths(tenant.rabbitmq, 5000)).toEqual(none);
});

test('what waits is counted by job type, apart from what is put off and what is dead, and stays where it is', async () => {
  const { host, port, vhost, user, password } = tenant.rabbitmq;
  const model = await connect({ hostname: host, port, vhost, username: user, password });
  const channel = await model.createConfirmChannel();
  await declareTopology(channel);
  const queues = [
    'matcher.jobs.matching.run',
    'matcher.jobs.matching.run',
    'matcher.jobs.export.run',
    'matcher.delay.30',
  ];
  for (const queue of [...queues, 'matcher.dead', 'matcher.dead', 'matcher.dead']) {
    channel.sendToQueue(queue, Buffer.from('{}'), { persistent: true });
  }
  await channel.waitForConfirms();
  const expected = {
    jobs: { ...none.jobs, 'matching.run': 2, 'export.run': 1 },
    delayed: 1,
    dead: 3,
  };
  // The broker counts a quorum queue's messages a moment after it has confirmed them.
  await until(async () => (await readQueueDepths(tenant.rabbitmq, 5000)).dead === 3);
  expect(await readQueueDepths(tenant.rabbitmq, 5000)).toEqual(expected);
  await model.close();
});

test('credentials or a vhost that the broker refuses are told apart from a broker that is away', async () => {
  const wrong = { ...tenant.rabbitmq, password: 'wrong-password' };
  const refused = await readQueueDepths(wrong, 5000).catch((error) => error);
  expect(refused).toMatchObject({ code: 'BROKER_REFUSED' });
  expect(`${refused.message} ${refused.hint}`).not.toContain('wrong-password');
  await expect(readQueueDepths({ ...tenant.rabbitmq, vhost: 'none' }, 5000)).rejects.toMatchObject({
    code: 'BROKER_REFUSED',
  });
  await expect(readQueueDepths({ ...tenant.rabbitmq, port: 1 }, 5000)).rejects.toMatchObject({
    code: 'BROKER_UNAVAILABLE',
  });
});

test('a broker that lets us in and says nothing costs the given time, and no more', async () => {
  const silent = createServer((socket) => socket.on('error', () => {}));
  await once(silent.listen(0, '127.0.0.1'), 'listening');
  const { port } = silent.address() as AddressInfo;
  const asked = performance.now();
  await expect(readQueueDepths({ ...tenant.rabbitmq, host: '127.0.0.1', port }, 300)).rejects.toMatchObject({
    code: 'BROKER_UNAVAILABLE',
  });
  expect(performance.now() - asked).toBeLessThan(3000);
  silent.close();
});
