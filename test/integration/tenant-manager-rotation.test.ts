import type { IncomingMessage } from 'node:http';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { administratorOptions } from '../../workers/tenant-manager/administrator.ts';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';
import {
  asAdministrator,
  type Fixture,
  management,
  managementProxy,
  openVhost,
  queryAs,
  startFixture,
} from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let manager: Fixture;

beforeAll(async () => {
  manager = await startFixture();
});
afterAll(() => manager.close());

const path = (id: string) => `/v1/tenants/${id}/associations/matcher`;
const rotate = (fixture: Fixture, id: string, body?: unknown) =>
  fixture.call('POST', `${path(id)}/credentials/rotate`, body);

/** Both of what is served is accepted by its server. */
async function works({ postgres, rabbitmq }: TenantConfig) {
  await queryAs(postgres, manager.settings, 'SELECT 1');
  await (await openVhost(rabbitmq)).close();
}

const refusedByPostgres = ({ postgres }: TenantConfig) =>
  expect(queryAs(postgres, manager.settings, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
const refusedByRabbitmq = ({ rabbitmq }: TenantConfig) => expect(openVhost(rabbitmq)).rejects.toThrow(/ACCESS.REFUSED/);

describe('rotation', () => {
  test('the new passwords work at once, the former ones open nothing more, and open connections go on', async () => {
    const former = await manager.onboard();
    const database = new Client(connectionOptions(former.postgres, manager.settings, 'test'));
    await database.connect();
    const broker = await openVhost(former.rabbitmq);

    const answer = await rotate(manager, former.tenantId);
    expect(answer).toEqual({ status: 200, body: { serviceName: 'matcher', status: 'active' } });
    const renewed = await manager.connections(former.tenantId);
    await works(renewed);
    await refusedByPostgres(former);
    await refusedByRabbitmq(former);
    expect(renewed.postgres).toEqual({ ...former.postgres, password: expect.any(String) });
    expect(renewed.rabbitmq.vhost).toBe(former.rabbitmq.vhost);

    await database.query('SELECT 1');
    await database.end();
    const channel = await broker.createChannel();
    await channel.assertQueue('still-here', { exclusive: true });
    await broker.close();
  });

  test('each kind by itself, again and again, and what a former user declared is the next one’s too', async () => {
    const first = await manager.onboard();
    const { tenantId } = first;
    const declare = async (config: TenantConfig) => {
      const connection = await openVhost(config.rabbitmq);
      const channel = await connection.createChannel();
      await channel.assertQueue('ledger', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
      channel.sendToQueue('ledger', Buffer.from(config.rabbitmq.user));
      await connection.close();
    };
    await declare(first);
    await manager.rotate(tenantId, 'database');
    const second = await manager.connections(tenantId);
    expect(second.rabbitmq).toEqual(first.rabbitmq);
    await works(second);
    await refusedByPostgres(first);

    const seen = [second];
    for (let time = 0; time < 3; time++) {
      await manager.rotate(tenantId, 'broker');
      const next = await manager.connections(tenantId);
      expect(next.postgres).toEqual(second.postgres);
      await works(next);
      await declare(next);
      await refusedByRabbitmq(seen.at(-1) as TenantConfig);
      seen.push(next);
    }
    // However often: two users at most, who can reach this vhost and nothing else.
    expect(new Set(seen.map(({ rabbitmq }) => rabbitmq.user)).size).toBe(2);
    const { vhost } = first.rabbitmq;
    const permissions = await (await management(manager.settings, 'GET', `vhosts/${vhost}/permissions`)).json();
    expect((permissions as { user: string }[]).map(({ user }) => user).toSorted()).toEqual([vhost, `${vhost}_b`]);
  });

  test('RabbitMQ fails in the middle: what is served is accepted, before and after the same request completes it', async () => {
    const failing = { users: 0 };
    const proxy = await managementProxy(manager.settings.RABBITMQ_MANAGEMENT_URL as string, cut);
    function cut({ method, url }: IncomingMessage, response: { writeHead(status: number): { end(): void } }) {
      if (method !== 'PUT' || !url?.startsWith('/api/users/') || failing.users === 0) return false;
      if (--failing.users > 0) return false;
      response.writeHead(500).end();
      return true;
    }
    const { MULTI_TENANT_SERVICE_API_KEY } = manager.settings;
    const broken = await startFixture({ RABBITMQ_MANAGEMENT_URL: proxy.url, MULTI_TENANT_SERVICE_API_KEY });
    const { tenantId } = await broken.onboard();
    // The first of the two is the new user, the second locks the former one out.
    for (const users of [1, 2]) {
      const former = await broken.connections(tenantId);
      failing.users = users;
      const interrupted = await rotate(broken, tenantId);
      expect(interrupted).toMatchObject({ status: 503, body: { code: 'ROTATION_INTERRUPTED' } });
      const between = await broken.connections(tenantId);
      await works(between);
      await refusedByPostgres(former);
      await broken.rotate(tenantId);
      await works(await broken.connections(tenantId));
      for (const config of [former, between]) await refusedByRabbitmq(config);
    }
    await broken.close();
    proxy.close();
  });

  test('cut off between changing the role and remembering it: the served password is still the role’s', async () => {
    const former = await manager.onboard();
    const holder = new Client(administratorOptions(manager.settings));
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM tenant_manager.associations WHERE tenant_id = $1 FOR UPDATE', [former.tenantId]);
    const interrupted = rotate(manager, former.tenantId, { credentialType: 'database' });
    const pid = await until(async () => {
      const { rows } = await holder.query(
        `SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))`,
      );
      return rows[0]?.pid;
    });
    await works(await manager.connections(former.tenantId));
    await holder.query('SELECT pg_terminate_backend($1)', [pid]);
    expect((await interrupted).status).toBe(503);
    await holder.query('ROLLBACK');
    await holder.end();
    expect(await manager.connections(former.tenantId)).toEqual(former);
    await works(former);
    await manager.rotate(former.tenantId);
    await works(await manager.connections(former.tenantId));
  });

  test('several at once, with a provisioning among them, leave passwords that work', async () => {
    const { tenantId } = await manager.onboard();
    const answers = await Promise.all([
      rotate(manager, tenantId),
      rotate(manager, tenantId, { credentialType: 'broker' }),
      manager.call('POST', path(tenantId), { isolationMode: 'isolated' }),
      rotate(manager, tenantId, { credentialType: 'database' }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 409, 200]);
    await works(await manager.connections(tenantId));
  });

  test('new passwords are in no log line, and sealed', async () => {
    const { tenantId } = await manager.onboard();
    await manager.rotate(tenantId);
    const { postgres, rabbitmq } = await manager.connections(tenantId);
    const [row] = await asAdministrator(
      manager.settings,
      'SELECT database_password, broker_password FROM tenant_manager.associations WHERE tenant_id = $1',
      [tenantId],
    );
    const kept = `${row.database_password.toString('latin1')}${row.broker_password.toString('latin1')}${manager.log()}`;
    for (const { password } of [postgres, rabbitmq]) {
      expect(password).toHaveLength(43);
      expect(kept).not.toContain(password);
    }
  });

  test('a suspended tenant’s passwords are changed, and it stays suspended', async () => {
    const former = await manager.onboard();
    await manager.suspend(former.tenantId);
    expect((await rotate(manager, former.tenantId)).body).toEqual({ serviceName: 'matcher', status: 'suspended' });
    expect((await manager.call('GET', `${path(former.tenantId)}/connections`)).status).toBe(403);
    await refusedByPostgres(former);
    await manager.reactivate(former.tenantId);
    await works(await manager.connections(former.tenantId));
  });

  test('what cannot be rotated is refused', async () => {
    const id = await manager.create();
    expect(await rotate(manager, id)).toMatchObject({ status: 404, body: { code: 'ASSOCIATION_NOT_FOUND' } });
    const problems = [{ field: 'credentialType', problem: 'takes database or broker' }];
    expect(await rotate(manager, id, { credentialType: 'redis' })).toMatchObject({ status: 400, body: { problems } });
  });
});

describe('under work', () => {
  let fleet: TestFleet;

  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet?.close());

  test.each(['isolated', 'schema'] as const)(
    '%s: no job is lost or charged when passwords change under it',
    async (isolation) => {
      const tenant = await fleet.tenant(isolation);
      const run = async () => {
        const names = Array.from({ length: 10 }, (_, i) => `context-${i}`);
        return Promise.all(
          names.map((name) => tenant.done('context.apply', { version: 1, context: { ...simpleContext(), name } })),
        );
      };
      for (const type of [undefined, 'broker', 'database', undefined] as const) {
        await Promise.all([run(), fleet.manager.rotate(tenant.id, type)]);
      }
      await run();
      const { postgres } = await fleet.manager.connections(tenant.id);
      const jobs = await queryAs(
        postgres,
        fleet.settings,
        'SELECT state, attempt, count(*)::int FROM jobs GROUP BY 1, 2',
      );
      expect(jobs).toEqual([{ state: 'SUCCEEDED', attempt: 1, count: 50 }]);
    },
  );
});

describe('limits of connections', () => {
  const limit = (id: string, body: unknown) => manager.call('PUT', `${path(id)}/connection-settings`, body);
  const served = async (id: string) =>
    (await manager.call('GET', `${path(id)}/connections`)).body.databases.matcher.connectionSettings;

  test('are served from then on; what is absent stays, null clears', async () => {
    const { tenantId: id } = await manager.onboard();
    expect(await served(id)).toBeUndefined();
    expect(await limit(id, { maxOpenConns: 8, maxIdleConns: 2, statementTimeout: '1500ms' })).toEqual({
      status: 200,
      body: {
        serviceName: 'matcher',
        status: 'active',
        connectionSettings: { maxOpenConns: 8, maxIdleConns: 2, statementTimeout: '1500ms' },
      },
    });
    expect(await served(id)).toEqual({ maxOpenConns: 8, maxIdleConns: 2, statementTimeout: '1500ms' });
    await limit(id, { maxOpenConns: 4 });
    expect(await served(id)).toEqual({ maxOpenConns: 4, maxIdleConns: 2, statementTimeout: '1500ms' });
    await limit(id, { maxIdleConns: null, statementTimeout: null });
    expect(await served(id)).toEqual({ maxOpenConns: 4, maxIdleConns: 0 });
    expect((await manager.connections(id)).limits).toMatchObject({
      maxOpenConns: 4,
      maxIdleConns: manager.settings.POSTGRES_MAX_IDLE_CONNS,
    });
    await limit(id, { maxOpenConns: null });
    expect(await served(id)).toBeUndefined();
  });

  test.each([
    ['30s', '30000ms'],
    ['2min', '120000ms'],
    ['1h', '3600000ms'],
    [250, '250ms'],
    ['250', '250ms'],
    [0, '0ms'],
  ])('a statement timeout of %j is %s', async (statementTimeout, expected) => {
    const { tenantId: id } = await manager.onboard();
    await limit(id, { statementTimeout });
    expect((await served(id)).statementTimeout).toBe(expected);
  });

  test('that contradict each other, or are none, are refused', async () => {
    const { tenantId: id } = await manager.onboard();
    await limit(id, { maxOpenConns: 4 });
    for (const [body, field] of [
      [{ maxIdleConns: 5 }, 'maxIdleConns'],
      [{ maxOpenConns: -1 }, 'maxOpenConns'],
      [{ maxOpenConns: 2.5 }, 'maxOpenConns'],
      [{ statementTimeout: 'soon' }, 'statementTimeout'],
      [{ statementTimeout: '9999999h' }, 'statementTimeout'],
      [{ statementTimeout: '2m30' }, 'statementTimeout'],
      [{ statementTimeout: -1 }, 'statementTimeout'],
      [{ statementTimeout: true }, 'statementTimeout'],
      [{}, 'body'],
      [{ maxConns: 3 }, 'body'],
      [undefined, 'body'],
    ] as const) {
      const { status, body: answer } = await limit(id, body);
      expect([status, answer.problems[0].field], JSON.stringify(body)).toEqual([400, field]);
    }
    expect(await served(id)).toEqual({ maxOpenConns: 4, maxIdleConns: 0 });
  });

  test('survive new passwords after a change of the API key', async () => {
    const { tenantId: id } = await manager.onboard();
    await limit(id, { maxOpenConns: 4, statementTimeout: '5s' });
    const rekeyed = await startFixture();
    await rekeyed.call('POST', path(id), { isolationMode: 'isolated' });
    const { body } = await rekeyed.call('GET', `${path(id)}/connections`);
    expect(body.databases.matcher.connectionSettings).toEqual({
      maxOpenConns: 4,
      maxIdleConns: 0,
      statementTimeout: '5000ms',
    });
    await rekeyed.close();
  });
});
