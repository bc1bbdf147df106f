import { loadSettings } from '@matcher/shared/config/load.ts';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { lifecycleChannel } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startContractServer } from '../support/contract-server.ts';
import { newTenantId } from '../support/databases.ts';
import { startFleet, until } from '../support/fleet.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { testLog } from '../support/test-log.ts';

const intervalSec = 3;
/** An interval is spread by a fifth; the rest is for a busy machine to come to it. */
const withinInterval = intervalSec * 1000 * 1.2 + 2000;

let redis: Redis;
let events: TcpProxy;

beforeAll(async () => {
  const {
    MULTI_TENANT_REDIS_HOST: host = '',
    MULTI_TENANT_REDIS_PORT: port,
    MULTI_TENANT_REDIS_PASSWORD: password,
  } = process.env;
  redis = new Redis({ host, port: Number(port), ...(password ? { password } : {}) });
  events = await startTcpProxy(host, Number(port));
});
afterAll(async () => {
  redis.disconnect();
  await events.close();
});

/** Discovery through a subscription that a test can cut. */
const env = () => ({
  MULTI_TENANT_REDIS_HOST: '127.0.0.1',
  MULTI_TENANT_REDIS_PORT: String(events.port),
  MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: String(intervalSec),
});

/** The subscription is gone and does not come back: only the list can help. */
function cutEvents(): void {
  events.mode = 'refuse';
  events.cut();
}

test('a thousand events lost: a fleet of a thousand tenants knows of it within one comparison interval', async () => {
  const server = await startContractServer();
  const environment = `test-${newTenantId()}`;
  const before = Array.from({ length: 1000 }, () => newTenantId());
  for (const id of before) server.active.add(id);
  const settings = loadSettings('publisher', {
    ...process.env,
    ...env(),
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: server.address,
    MULTI_TENANT_SERVICE_API_KEY: server.apiKey,
    MULTI_TENANT_ENVIRONMENT: environment,
  });
  const { log, lines } = testLog();
  const directory = new TenantDirectory(createTenantManagerClient(settings), settings, log);
  directory.start();
  await until(() => directory.active.size === 1000 && lines.some((line) => line.includes('subscribed')));
  cutEvents();
  await until(() => events.connections === 0);

  // Half of them go, as many others come; each change is announced, and nobody hears it.
  const gone = before.slice(0, 500);
  const come = gone.map(() => newTenantId());
  const announce = async (tenantId: string, type: string) =>
    redis.publish(
      lifecycleChannel(environment),
      JSON.stringify({ event_type: type, tenant_id: tenantId, environment }),
    );
  const heard = await Promise.all([
    ...gone.map((id) => announce(id, 'tenant.service.suspended')),
    ...come.map((id) => announce(id, 'tenant.service.associated')),
  ]);
  expect(heard.every((receivers) => receivers === 0)).toBe(true);
  const suspended = { status: 403, body: { code: '0131', error: 'suspended', status: 'suspended' } };
  for (const id of gone) {
    server.active.delete(id);
    server.answers.set(id, suspended);
  }
  for (const id of come) server.active.add(id);
  const changed = performance.now();
  const right = [...server.active].toSorted();
  await until(() => come.some((id) => directory.active.has(id)));
  expect(performance.now() - changed).toBeLessThan(withinInterval);
  // Each of those that the list lacks is asked for by itself first, a few at a time.
  await until(() => directory.active.size === right.length);
  expect([...directory.active].toSorted()).toEqual(right);
  await directory.stop();
  await server.close();
  events.mode = 'forward';
});

test('events lost: whoever is suspended is no longer consumed, and whoever is new is, within one comparison interval', async () => {
  const fleet = await startFleet({ workers: 0 });
  const staying = await fleet.tenant();
  const going = await Promise.all([fleet.tenant(), fleet.tenant()]);
  const worker = await fleet.worker(env());
  const tenants = async () => {
    const answer = await fetch(`http://127.0.0.1:${worker.port}/ready`);
    return ((await answer.json()) as { tenants: object }).tenants;
  };
  await until(async () => JSON.stringify(await tenants()) === '{"active":3,"share":3,"consuming":3}');
  cutEvents();
  await until(() => events.connections === 0);
  for (const tenant of going) await fleet.manager.suspend(tenant.id);
  const coming = await Promise.all([fleet.tenant(), fleet.tenant()]);
  const changed = performance.now();
  // Two that stopped and two that began, as each logs it.
  const logged = (message: string, id: string) =>
    fleet.lines.some((line) => line.includes(id) && line.includes(`"msg":"${message}"`));
  await until(
    () => going.every(({ id }) => logged('stopped consuming', id)) && coming.every(({ id }) => logged('consuming', id)),
  );
  expect(performance.now() - changed).toBeLessThan(withinInterval);
  expect(await tenants()).toEqual({ active: 3, share: 3, consuming: 3 });
  for (const tenant of [staying, ...coming]) {
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
  }
  // What is published for those who are suspended waits.
  const [suspended] = going;
  const id = await suspended?.client.publish('context.apply', { version: 1, context: simpleContext() });
  expect(await suspended?.client.read(id as string)).toBeUndefined();
  await fleet.close();
  events.mode = 'forward';
});
