import { setTimeout as delay } from 'node:timers/promises';
import { errorCode } from '@matcher/shared/errors.ts';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { openVhost } from '../support/tenant-manager.ts';

/** Calls that may wait for a broker that is away. */
const atMost = 1000;

let fleet: TestFleet;
let tenant: TestTenant;
let proxy: TcpProxy;
let client: JobClient;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
});
afterAll(() => fleet?.close());

beforeEach(async () => {
  tenant = await fleet.tenant();
  const { rabbitmq, postgres } = tenant.config;
  proxy = await startTcpProxy(rabbitmq.host, rabbitmq.port);
  const settings = {
    ...fleet.settings,
    MULTI_TENANT_ENABLED: false,
    DEFAULT_TENANT_ID: tenant.id,
    POSTGRES_HOST: postgres.host,
    POSTGRES_DB: postgres.database,
    POSTGRES_USER: postgres.user,
    POSTGRES_PASSWORD: postgres.password,
    RABBITMQ_HOST: '127.0.0.1',
    RABBITMQ_PORT: proxy.port,
    RABBITMQ_VHOST: rabbitmq.vhost,
    RABBITMQ_USER: rabbitmq.user,
    RABBITMQ_PASSWORD: rabbitmq.password,
  };
  client = await openJobClient({ settings, tenantId: tenant.id, log: fleet.log, listen: false });
});
afterEach(async () => {
  proxy.mode = 'forward';
  await client.close();
  await proxy.close();
});

const publish = () => client.publish('matching.run', { version: 1, context: 'bank' });
const publishMany = (count: number) => Array.from({ length: count }, publish);

/** Returns when the client knows that the broker is away. */
async function takeAway(): Promise<void> {
  const before = fleet.lines.length;
  proxy.mode = 'refuse';
  proxy.cut();
  await until(() => fleet.lines.slice(before).some((line) => line.includes('lost the connection')));
}

async function waitingJobs(): Promise<number> {
  const connection = await openVhost(tenant.config.rabbitmq);
  const channel = await connection.createChannel();
  const { messageCount } = await channel.checkQueue(jobQueue('matching.run'));
  await connection.close();
  return messageCount;
}

test('what waits for a broker that is away is bounded, and goes out when it is back', async () => {
  await takeAway();
  const waiting = publishMany(atMost);
  await expect(publish()).rejects.toMatchObject({ code: 'PUBLISHER_BUFFER_FULL', remedy: 'not-now' });
  proxy.mode = 'forward';
  expect(new Set(await Promise.all(waiting)).size).toBe(atMost);
  await publish();
  expect(await waitingJobs()).toBe(atMost + 1);
});

test('each call waits for at most its own time and is told that nothing was published; then there is room again', async () => {
  await takeAway();
  const codes = await Promise.all(publishMany(atMost).map((call) => call.then(() => 'published', errorCode)));
  expect(new Set(codes)).toEqual(new Set(['BROKER_UNAVAILABLE']));
  const later = publish();
  proxy.mode = 'forward';
  await later;
  expect(await waitingJobs()).toBe(1);
});

test('a broker that takes what it is sent and confirms nothing is away, too', async () => {
  proxy.mode = 'swallow';
  const calls = publishMany(atMost).map((call) => call.catch(errorCode));
  await until(async () => {
    const call = publish().catch(errorCode);
    calls.push(call);
    return (await Promise.race([call, delay(100)])) === 'PUBLISHER_BUFFER_FULL';
  });
  proxy.cut();
  proxy.mode = 'forward';
  await Promise.all(calls);
  await publish();
});

test('while it is there, any number of calls may be under way', async () => {
  expect(new Set(await Promise.all(publishMany(5 * atMost))).size).toBe(5 * atMost);
  expect(await waitingJobs()).toBe(5 * atMost);
});
