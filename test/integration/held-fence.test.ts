import { afterAll, beforeAll, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;
let manager: ManagerProxy;
let database: TcpProxy;
beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  database = await startTcpProxy(fleet.settings.POSTGRES_HOST ?? '', fleet.settings.POSTGRES_PORT);
  tenant = await fleet.tenant();
  manager.detours.set(tenant.id, { postgresPort: database.port });
  await fleet.worker({
    MULTI_TENANT_URL: manager.address,
    POSTGRES_CONNECT_TIMEOUT_SEC: '2',
    POSTGRES_QUERY_TIMEOUT_SEC: '3',
  });
  await tenant.done('context.apply', { version: 1, context: simpleContext() }, 'first');
});
afterAll(async () => {
  await database?.close();
  await manager?.close();
  await fleet?.close();
});

test('a claim that could not be given back is no death, also when the job is put off before it is taken up', async () => {
  const body = { version: 1, context: simpleContext() } as const;
  await tenant.query(`INSERT INTO jobs (id, type, body, body_sha256, state, attempt, fence, lease_until, worker)
    SELECT 'held', type, body, body_sha256, 'RUNNING', 1, 1, now() + interval '1 second', 'x' FROM jobs WHERE id = 'first'`);
  database.mode = 'refuse';
  database.cut();
  const connection = await openVhost(tenant.config.rabbitmq);
  const channel = await connection.createConfirmChannel();
  channel.publish('matcher.jobs', 'context.apply', Buffer.from(JSON.stringify(body)), {
    messageId: 'held',
    type: 'context.apply',
    headers: { 'X-Tenant-ID': tenant.id, 'X-Held-Fence': '1' },
  });
  await channel.waitForConfirms();
  await until(() => fleet.lines.some((line) => line.includes('"jobId":"held"') && line.includes('job put off')));
  database.mode = 'forward';
  expect((await tenant.client.follow('held')).state).toBe('SUCCEEDED');
  expect(await tenant.query(`SELECT attempt, deaths FROM jobs WHERE id = 'held'`)).toEqual([{ attempt: 1, deaths: 0 }]);
  await connection.close();
});
