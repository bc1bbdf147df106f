import { loadSettings } from '@matcher/shared/config/load.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { startWorker } from '@matcher/shared/process/run-worker.ts';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type Detour, type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

let fleet: TestFleet;
let manager: ManagerProxy;
const hosts: Host[] = [];

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
});
afterAll(async () => {
  await fleet?.close();
  await Promise.all(hosts.flatMap(({ database, broker }) => [database.close(), broker.close()]));
  await manager?.close();
});

/** Ports of their own for the tests' database server and broker. */
interface Host {
  database: TcpProxy;
  broker: TcpProxy;
  detour: Detour;
}

async function startHost(): Promise<Host> {
  const { POSTGRES_HOST = '', POSTGRES_PORT, RABBITMQ_HOST = '', RABBITMQ_PORT } = fleet.settings;
  const database = await startTcpProxy(POSTGRES_HOST, POSTGRES_PORT);
  const broker = await startTcpProxy(RABBITMQ_HOST, RABBITMQ_PORT);
  const host = { database, broker, detour: { postgresPort: database.port, rabbitmqPort: broker.port } };
  hosts.push(host);
  return host;
}

const apply = { version: 1, context: simpleContext() } as const;
const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));
const complaints = (tenant: TestTenant) =>
  logged(tenant.id).filter((line) => /"level":"(warn|error)"/.test(line) || line.includes('put off'));

/** A tenant on one host, with a worker that asks for its configuration every second, and another host to go to. */
async function tenantOnOneOfTwo() {
  const [tenant, from, to] = await Promise.all([fleet.tenant(), startHost(), startHost()]);
  manager.detours.set(tenant.id, from.detour);
  const worker = await fleet.worker({
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1',
  });
  await tenant.done('context.apply', apply);
  await loadPairs(tenant, 5);
  expect(from.broker.connections).toBe(1);
  return { tenant, worker, from, to };
}

describe('a tenant that has moved to another database server and broker', () => {
  test('is followed: new jobs go there, the running one ends where it is, and nobody notices when the former host is cut off', async () => {
    const { tenant, worker, from, to } = await tenantOnOneOfTwo();
    const held = await tenant.hold('match_groups');
    const running = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
    await until(held.waiting);
    manager.detours.set(tenant.id, to.detour);
    await until(() => to.database.connections > 0 && to.broker.connections === 1);
    await until(() => logged(tenant.id, 'a new connection to the vhost has taken over').length === 1);
    // The transaction that stands still keeps the former database server, and its delivery the former broker.
    await tenant.done('context.apply', apply);
    expect(from.database.connections).toBeGreaterThan(0);
    expect(from.broker.connections).toBe(1);
    await held.release();
    expect(await tenant.client.follow(running)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
    await until(() => from.database.connections === 0 && from.broker.connections === 0);
    for (const proxy of [from.database, from.broker]) {
      proxy.mode = 'refuse';
      proxy.cut('reset');
    }
    expect(await tenant.done('matching.run', { version: 1, context: 'bank' })).toMatchObject({ matched: 0 });
    expect(await tenant.query('SELECT DISTINCT attempt, fence FROM jobs')).toEqual([{ attempt: 1, fence: '1' }]);
    expect([from.database.hits, from.broker.hits]).toMatchObject([{ refused: 0 }, { refused: 0 }]);
    expect(complaints(tenant)).toEqual([]);
    await worker.stop();
  });

  test.each<[string, (nobody: number) => Detour]>([
    ['ports where nobody listens', (port) => ({ postgresPort: port, rabbitmqPort: port })],
    ['wrong passwords', () => ({ postgresPassword: 'not-this-one', rabbitmqPassword: 'nor-that-one' })],
  ])('and is said to be at %s: its jobs go on where it was, until the mistake is corrected', async (_what, mistake) => {
    const { tenant, worker, from, to } = await tenantOnOneOfTwo();
    const gone = await startTcpProxy('127.0.0.1', 1);
    const nobody = gone.port;
    await gone.close();
    manager.detours.set(tenant.id, { ...from.detour, ...mistake(nobody) });
    // Twice: it is tried again, and changes nothing again.
    await until(
      () => logged(tenant.id, 'the changed configuration does not work; the pool stays as it was').length >= 2,
    );
    await until(() => logged(tenant.id, 'no new connection to the vhost for now; the old one goes on').length >= 2);
    const jobs = await Promise.all(
      [1, 2, 3, 4].map((n) =>
        tenant.client.publish('context.apply', { version: 1, context: simpleContext({ name: `n${n}` }) }),
      ),
    );
    for (const id of jobs) expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
    expect(await tenant.done('matching.run', { version: 1, context: 'bank' })).toMatchObject({ matched: 5 });
    expect(from.broker.connections).toBe(1);
    manager.detours.set(tenant.id, to.detour);
    await until(() => from.database.connections === 0 && from.broker.connections === 0);
    await tenant.done('context.apply', apply);
    expect(to.broker.connections).toBe(1);
    expect(to.database.connections).toBeGreaterThan(0);
    expect(await tenant.query('SELECT DISTINCT attempt, fence FROM jobs')).toEqual([{ attempt: 1, fence: '1' }]);
    expect(logged('not-this-one').concat(logged('nor-that-one'))).toEqual([]);
    await worker.stop();
  });
});

test('changed limits reach an open pool without a restart, and back', async () => {
  const tenant = await fleet.tenant();
  let seen = { timeout: '', connections: 0 };
  /** Sees what its session's limit is, and on how many connections eight statements run that all wait for the same lock. */
  const look: JobDefinition<'context.apply'> = {
    type: 'context.apply',
    async run({ body }, { db }) {
      const [shown] = await db.query<{ statement_timeout: string }>('SHOW statement_timeout');
      const statement = 'SELECT pg_backend_pid() AS pid, pg_advisory_xact_lock_shared(1)';
      const rows = await Promise.all(Array.from({ length: 8 }, () => db.query<{ pid: number }>(statement)));
      seen = { timeout: shown?.statement_timeout ?? '', connections: new Set(rows.flat().map(({ pid }) => pid)).size };
      return async () => ({ context: body.context.name, revision: 1 }) as never;
    },
  };
  const settings = loadSettings('worker', {
    ...process.env,
    ...fleet.environment,
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1',
    POSTGRES_QUERY_TIMEOUT_SEC: '20',
  });
  const worker = await startWorker('worker', [look], settings, fleet.log);
  const timeout = async () => {
    await tenant.done('context.apply', apply);
    return seen.timeout;
  };
  const locker = new Client(connectionOptions(tenant.config.postgres, settings, 'locker'));
  await locker.connect();
  /** Holds the lock until so many connections wait for it. */
  const connections = async (expected: number) => {
    await locker.query('SELECT pg_advisory_lock(1)');
    const id = await tenant.client.publish('context.apply', apply);
    await until(async () => {
      const { rows } = await locker.query(
        `SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database
          WHERE datname = current_database() AND locktype = 'advisory' AND objid = 1 AND NOT granted`,
      );
      return rows.length >= expected;
    });
    await locker.query('SELECT pg_advisory_unlock(1)');
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
    return seen.connections;
  };
  expect(await timeout()).toBe('20s');
  expect(await connections(8)).toBe(8);
  await fleet.manager.limits(tenant.id, { maxOpenConns: 3, statementTimeout: '12345ms' });
  await until(async () => (await timeout()) !== '20s');
  expect(await connections(3)).toBe(3);
  expect(seen.timeout).toBe('12345ms');
  await fleet.manager.limits(tenant.id, { maxOpenConns: null, statementTimeout: null });
  await until(async () => (await timeout()) !== '12345ms');
  expect(await connections(8)).toBe(8);
  expect(seen.timeout).toBe('20s');
  expect(await tenant.query('SELECT DISTINCT attempt, fence FROM jobs')).toEqual([{ attempt: 1, fence: '1' }]);
  expect(complaints(tenant)).toEqual([]);
  await locker.end();
  await worker.stop();
});
