import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { VhostConnection } from '@matcher/shared/rabbitmq/vhost-connection.ts';
import type { RabbitmqTarget } from '@matcher/shared/tenancy/tenant-config.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { management, openVhost } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';
import { startTlsProxy } from '../support/tls-proxy.ts';

let fleet: TestFleet;
let manager: ManagerProxy;
const brokers: TcpProxy[] = [];

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
});
afterAll(async () => {
  await fleet?.close();
  for (const broker of brokers) await broker.close();
  await manager?.close();
});

/** A tenant whose worker reaches its vhost through a proxy, so that its connections can be counted. */
async function tenantBehindProxy() {
  const tenant = await fleet.tenant();
  const broker = await startTcpProxy(fleet.settings.RABBITMQ_HOST ?? '', fleet.settings.RABBITMQ_PORT);
  brokers.push(broker);
  manager.detours.set(tenant.id, { rabbitmqPort: broker.port });
  return { tenant, broker };
}

const hasRefusedUser = (tenant: TestTenant) =>
  fleet.lines.some((line) => line.includes(tenant.id) && line.includes('ACCESS-REFUSED') && line.includes('connect'));
const tookOver = (tenant: TestTenant) =>
  fleet.lines.filter(
    (line) => line.includes(tenant.id) && line.includes('a new connection to the vhost has taken over'),
  );
const apply = (tenant: TestTenant, name = 'bank') =>
  tenant.done('context.apply', { version: 1, context: simpleContext({ name }) });

describe('a worker that hears events', () => {
  test('new credentials in the middle of a job: a new connection takes over, the job ends on the old one, no message is lost or done twice', async () => {
    const { tenant, broker } = await tenantBehindProxy();
    const worker = await fleet.worker({
      MULTI_TENANT_URL: manager.address,
      MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600',
    });
    await until(() => broker.connections === 1);
    await apply(tenant);
    await loadPairs(tenant, 5);
    const held = await tenant.hold('match_groups');
    const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
    await until(held.waiting);
    await fleet.manager.rotate(tenant.id, 'broker');
    await until(() => tookOver(tenant).length === 1);
    // Others go on at once, over the new one, while the first still stands on the old one.
    await apply(tenant, 'meanwhile');
    expect(broker.connections).toBe(2);
    await held.release();
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
    await until(() => broker.connections === 1);
    // Acknowledged on the old connection: it was not delivered again.
    expect(await tenant.query('SELECT attempt, fence FROM jobs WHERE id = $1', [id])).toEqual([
      { attempt: 1, fence: '1' },
    ]);
    await worker.stop();
    const connection = await openVhost((await fleet.manager.connections(tenant.id)).rabbitmq);
    const channel = await connection.createChannel();
    expect(await channel.checkQueue(jobQueue('matching.run'))).toMatchObject({ messageCount: 0, consumerCount: 0 });
    await connection.close();
    expect(broker.connections).toBe(0);
  });
});

describe('a worker that hears no events', () => {
  const deaf = () => ({ MULTI_TENANT_URL: manager.address, MULTI_TENANT_REDIS_HOST: '' });

  test('finds another address by itself within an interval; credentials that are refused leave the old connection as it is', async () => {
    const { tenant, broker } = await tenantBehindProxy();
    const worker = await fleet.worker({ ...deaf(), MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
    await apply(tenant);
    await until(() => broker.connections === 1);
    manager.detours.set(tenant.id, { rabbitmqPassword: 'wrong' });
    await until(() =>
      fleet.lines.some((line) => line.includes(tenant.id) && line.includes('no new connection to the vhost for now')),
    );
    await apply(tenant, 'still');
    expect([broker.connections, tookOver(tenant).length]).toEqual([1, 0]);
    manager.detours.delete(tenant.id);
    await until(() => tookOver(tenant).length === 1);
    await until(() => broker.connections === 0);
    await apply(tenant, 'again');
    await worker.stop();
  });

  test('whose credentials are refused asks for them at once: a rotation costs a retry and not an interval', async () => {
    const { tenant } = await tenantBehindProxy();
    const worker = await fleet.worker({ ...deaf(), MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600' });
    await apply(tenant);
    await fleet.manager.rotate(tenant.id, 'broker');
    // The broker lets go of whoever is connected as a user that is no more.
    const { user } = tenant.config.rabbitmq;
    await management(fleet.manager.settings, 'DELETE', `users/${user}`);
    await until(() => hasRefusedUser(tenant));
    const connection = await openVhost((await fleet.manager.connections(tenant.id)).rabbitmq);
    const channel = await connection.createChannel();
    await until(async () => (await channel.checkQueue(jobQueue('context.apply'))).consumerCount === 1);
    await connection.close();
    await worker.stop();
  });
});

describe('amqps', () => {
  const connect = (target: RabbitmqTarget) => {
    const { log, lines } = testLog();
    const connection = new VhostConnection({ target: async () => target, name: 'test', log });
    connection.open();
    return { connection, lines };
  };

  test.each(['file', 'pem'] as const)(
    'the authority that signed the broker’s certificate is taken as a %s',
    async (form) => {
      const { rabbitmq } = await fleet.manager.onboard();
      const proxy = await startTlsProxy(rabbitmq.host, rabbitmq.port);
      const tls = { ...rabbitmq, host: proxy.host, port: proxy.port, tls: true, tlsCAFile: proxy.ca[form] };
      const { connection } = connect(tls);
      await connection.publishChannel();
      expect([proxy.handshakes, proxy.unencrypted]).toEqual([1, 0]);
      await connection.close();
      await proxy.close();
    },
  );

  test('without it the system’s authorities count: an unknown one is refused, and nothing goes out unencrypted', async () => {
    const { rabbitmq } = await fleet.manager.onboard();
    const proxy = await startTlsProxy(rabbitmq.host, rabbitmq.port);
    const { connection, lines } = connect({ ...rabbitmq, host: proxy.host, port: proxy.port, tls: true });
    await until(() => lines.some((line) => /unable to (verify|get)|self.signed/.test(line)));
    expect([connection.connected, proxy.unencrypted]).toEqual([false, 0]);
    await connection.close();
    await proxy.close();
  });

  test('a certificate of another name is refused', async () => {
    const { rabbitmq } = await fleet.manager.onboard();
    const proxy = await startTlsProxy(rabbitmq.host, rabbitmq.port, { names: ['elsewhere.example'] });
    const tls = { ...rabbitmq, host: proxy.host, port: proxy.port, tls: true, tlsCAFile: proxy.ca.pem };
    const { connection, lines } = connect(tls);
    await until(() => lines.some((line) => line.includes('does not match certificate')));
    await connection.close();
    await proxy.close();
  });
});
