import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { jobTypes } from '@matcher/shared/jobs/contracts/job-types.ts';
import { readFleet } from '@matcher/shared/process/fleet-registry.ts';
import { type RunningWorker, startWorker } from '@matcher/shared/process/run-worker.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ProcessView } from '../../workers/cli/fleet-view.ts';
import { exportRun } from '../../workers/export/export-run.ts';
import { contextApply } from '../../workers/matching/context-apply.ts';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { matcher } from '../support/matcher.ts';
import { noJobs } from '../support/snapshots.ts';
import { asAdministrator, management } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let fleet: TestFleet;
let workers: RunningWorker[];
let acme: TestTenant;
let borealis: TestTenant;
let redis: Redis;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  workers = [await fleet.worker(), await fleet.worker()];
  acme = await fleet.tenant();
  borealis = await fleet.tenant();
  redis = createRedis(fleet.settings, testLog().log);
  await once(redis, 'ready');
  await until(async () => (await Promise.all(workers.map(consuming))).every((count) => count === 2));
});
afterAll(async () => {
  redis.disconnect();
  await fleet.close();
});
beforeEach(() => {
  for (const [name, value] of Object.entries(fleet.environment)) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const get = async ({ port }: RunningWorker, path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).text();
const ready = async (worker: RunningWorker) => JSON.parse(await get(worker, '/ready'));
const consuming = async (worker: RunningWorker): Promise<number> => (await ready(worker)).tenants.consuming;

/** The sum over both workers of a metric's series, of those that have these labels. */
async function metric(name: string, labels = ''): Promise<number> {
  const texts = await Promise.all(workers.map((worker) => get(worker, '/metrics')));
  const lines = texts.flatMap((text) => text.split('\n'));
  const series = lines.filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return series.filter((line) => line.includes(labels)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const apply = (tenant: TestTenant, name: string) =>
  tenant.done('context.apply', { version: 1, context: simpleContext({ name }) });

async function tenantsDocument(...args: string[]) {
  const { status, stdout, stderr } = await matcher(['tenants', '--json', ...args]);
  if (status !== 0) throw new Error(stdout + stderr);
  return JSON.parse(stdout);
}
const rowOf = async (tenant: TestTenant) =>
  (await tenantsDocument()).tenants.find(({ id }: { id: string }) => id === tenant.id);

describe('/metrics', () => {
  test('the names of the contract count what really happens: pools, consumers and messages', async () => {
    const before = await metric('tenant_connections_total');
    const newcomer = await fleet.tenant();
    await until(async () => (await Promise.all(workers.map(consuming))).every((count) => count === 3));
    expect(await metric('tenant_consumers_active')).toBe(6);
    expect(await metric('matcher_tenants')).toBe(6);
    await apply(newcomer, 'first');
    expect(await metric('tenant_connections_total')).toBe(before + 1);
    // The result is announced before its message is acknowledged.
    const done = () => metric('tenant_messages_processed_total', 'type="context.apply",outcome="done"');
    await until(async () => (await done()) >= 1);
    expect(await metric('matcher_tenant_pools', 'state="open"')).toBeGreaterThan(0);
    expect(await metric('matcher_tenant_manager_requests_total', 'outcome="ok"')).toBeGreaterThan(0);
    expect(await metric('matcher_tenant_list_compared_timestamp_seconds')).toBeGreaterThan(0);

    await fleet.manager.call('PUT', `/v1/tenants/${newcomer.id}/associations/matcher/suspend`);
    await until(async () => (await metric('tenant_consumers_active')) === 4);
  });

  test('a database that refuses is counted, with the reason and without its tenant', async () => {
    const locked = await fleet.tenant();
    const { user } = locked.config.postgres;
    await asAdministrator(fleet.manager.settings, `ALTER ROLE "${user}" PASSWORD 'another'`);
    await locked.client.publish('context.apply', { version: 1, context: simpleContext() });
    await until(() => metric('tenant_connection_errors_total', 'resource="postgresql",code="28P01"'));
    const text = await get(workers[0] as RunningWorker, '/metrics');
    expect(text).not.toContain(locked.id);
    expect(text).toContain('nodejs_eventloop_lag_p99_seconds');
    await fleet.manager.call('PUT', `/v1/tenants/${locked.id}/associations/matcher/suspend`);
    await until(async () => (await metric('tenant_consumers_active')) === 4);
  });
});

describe('matcher tenants', () => {
  test('shows who consumes each tenant, its pools and connections, and what runs and waits', async () => {
    await apply(acme, 'shown');
    const held = await acme.hold('contexts');
    const context = simpleContext({ name: 'held' });
    await acme.client.publish('context.apply', { version: 1, context });
    await until(held.waiting);
    const row = await until(async () => {
      const found = await rowOf(acme);
      return found?.running === 1 && found.pools.leases === 1 && found;
    });
    expect(row).toMatchObject({ name: 'Blue Harbour Ltd', state: 'active', consumedBy: { worker: 2 }, running: 1 });
    expect(row.pools.open).toBeGreaterThanOrEqual(1);
    expect(row.pools.connections - row.pools.idle).toBeGreaterThanOrEqual(1);
    expect(row.pools.max).toBe(25 * row.pools.open);
    expect(row.queues).toEqual({
      jobs: noJobs,
      delayed: 0,
      dead: 0,
    });

    // A tenant of the test before may still have been there when a process last spoke.
    const { environment, processes, unworked } = await until(async () => {
      const found = await tenantsDocument();
      return found.processes.every((one: ProcessView) => one.tenants.consumed === 2) && found;
    });
    expect([environment, unworked]).toEqual([fleet.environment.MULTI_TENANT_ENVIRONMENT, []]);
    expect(processes).toHaveLength(2);
    expect(processes.map(({ address }: ProcessView) => address).sort()).toEqual(
      workers.map(({ port }) => `127.0.0.1:${port}`).sort(),
    );
    expect(processes[0]).toMatchObject({
      kind: 'worker',
      pid: process.pid,
      state: 'running',
      reasons: [],
      breaker: 'closed',
      tenants: { consumed: 2, notConsumed: 0 },
    });
    expect(processes.map(({ slots }: ProcessView) => slots.used).sort()).toEqual([0, 1]);

    const { status, stdout, stderr } = await matcher(['tenants']);
    await held.release();
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(new RegExp(`^${acme.id} +Blue Harbour Ltd +active +worker 2 .* 1 +0 +0 +0$`, 'm'));
    expect(stdout).toMatch(new RegExp(`^${borealis.id} +Blue Harbour Ltd +active +worker 2 `, 'm'));
    for (const { port } of workers) expect(stdout).toMatch(new RegExp(`^worker@.* 127.0.0.1:${port} +running `, 'm'));
    expect(stdout).toContain('2 tenants: 2 active. Jobs: 1 running, 0 waiting');
  });

  test('dead letters are counted where they are', async () => {
    const before = (await rowOf(borealis)).queues.dead;
    const end = await borealis.run('matching.run', { version: 1, context: 'none', mode: 'COMMIT' });
    expect(end.state).toBe('FAILED');
    await until(async () => (await rowOf(borealis)).queues.dead === before + 1);
    expect((await rowOf(acme)).queues.dead).toBe(0);
  });

  test('--tenant shows that tenant only; a suspended one says so, and one that does not exist is an error', async () => {
    const { tenants } = await tenantsDocument('--tenant', acme.id);
    expect(tenants.map(({ id }: { id: string }) => id)).toEqual([acme.id]);

    const third = await fleet.tenant();
    await fleet.manager.call('PUT', `/v1/tenants/${third.id}/associations/matcher/suspend`);
    await until(async () => (await tenantsDocument()).tenants.length === 2);
    const suspended = await tenantsDocument('--tenant', third.id);
    expect(suspended.tenants).toMatchObject([{ id: third.id, state: 'suspended', queues: null }]);
    expect(suspended.notes).toEqual([]);

    const { status, stderr } = await matcher(['tenants', '--tenant', randomUUID()]);
    expect([status, stderr]).toEqual([1, expect.stringContaining('[TENANT_NOT_FOUND]')]);
  });

  test('a broker that refuses one tenant hides no other: what could not be counted says why', async () => {
    const { vhost, user } = borealis.config.rabbitmq;
    const { settings } = fleet.manager;
    const permissions = `permissions/${encodeURIComponent(vhost)}/${encodeURIComponent(user)}`;
    await management(settings, 'DELETE', permissions);
    try {
      const { tenants, notes } = await tenantsDocument();
      const [row] = tenants.filter(({ id }: { id: string }) => id === borealis.id);
      expect(row).toMatchObject({ queues: null, queuesProblem: { code: 'BROKER_REFUSED' } });
      expect(notes).toContainEqual(expect.stringMatching(`queues not counted: ${borealis.id}: .*BROKER_REFUSED`));
      expect((await rowOf(acme)).queues.dead).toBe(0);
      const { stdout } = await matcher(['tenants']);
      expect(stdout).toMatch(new RegExp(`^${borealis.id} .* \\? +\\? +\\?$`, 'm'));
    } finally {
      const { RABBITMQ_MANAGEMENT_URL: base, RABBITMQ_USER, RABBITMQ_PASSWORD } = settings;
      const credentials = Buffer.from(`${RABBITMQ_USER}:${RABBITMQ_PASSWORD}`).toString('base64');
      await fetch(`${base}/api/${permissions}`, {
        method: 'PUT',
        headers: { authorization: `Basic ${credentials}`, 'content-type': 'application/json' },
        body: JSON.stringify({ configure: '.*', write: '.*', read: '.*' }),
      });
    }
  });

  test('with the Tenant Manager away it shows what the processes say, and that more is not known', async () => {
    vi.stubEnv('MULTI_TENANT_URL', 'http://127.0.0.1:1');
    const { tenants, notes } = await tenantsDocument();
    expect(tenants.map(({ id }: { id: string }) => id).sort()).toEqual([acme.id, borealis.id].sort());
    expect(tenants).toMatchObject([{ state: 'unknown', consumedBy: { worker: 2 } }, { state: 'unknown' }]);
    expect(notes.join()).toContain('[TENANT_MANAGER_UNAVAILABLE]');
  });

  test('a Redis that is not there: status 1, and what to check', async () => {
    vi.stubEnv('REDIS_HOST', '127.0.0.1:1');
    const away = await matcher(['tenants']);
    expect(away).toMatchObject({ status: 1, stdout: '' });
    expect(away.stderr).toMatch(/\[REDIS_UNAVAILABLE\]\nCheck REDIS_HOST/);
  });

  test('another environment’s processes are not shown: nobody is there, and the hint says what must agree', async () => {
    vi.stubEnv('MULTI_TENANT_ENVIRONMENT', 'elsewhere');
    const { status, stderr } = await matcher(['tenants']);
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /of environment elsewhere has announced itself .*\[NO_PROCESSES\]\nIs the fleet running, with the same REDIS_HOST/,
    );
  });
});

test('no password or key reaches the metrics, the readiness, the snapshots, the log or the command', async () => {
  const keys = await redis.keys(`matcher:fleet:${fleet.environment.MULTI_TENANT_ENVIRONMENT}:*`);
  const seen = [
    ...(await Promise.all(workers.flatMap((worker) => [get(worker, '/metrics'), get(worker, '/ready')]))),
    ...(await redis.mget(keys)).map((text) => text ?? ''),
    ...fleet.lines,
    JSON.stringify(await tenantsDocument()),
    (await matcher(['tenants'])).stdout,
  ].join('\n');
  expect(keys).toHaveLength(2);
  expect(seen).toContain(acme.id);
  const secrets = [acme, borealis].flatMap(({ config }) => [config.postgres.password, config.rabbitmq.password]);
  for (const secret of [...secrets, fleet.environment.MULTI_TENANT_SERVICE_API_KEY ?? '']) {
    expect(secret.length).toBeGreaterThan(10);
    expect(seen).not.toContain(secret);
  }
});

test('the log says at the start which mode it is and with which limits, and when the process is ready', async () => {
  const lines = fleet.lines.map((line) => JSON.parse(line));
  const { settings } = fleet;
  expect(lines.find(({ msg }) => msg === 'started')).toMatchObject({
    mode: 'multi-tenant',
    environment: settings.MULTI_TENANT_ENVIRONMENT,
    tenantManager: new URL(fleet.manager.address).host,
    events: true,
    pools: 100,
    connectionsPerPool: 25,
    connectionsAtMost: 2500,
    idleTimeoutSec: 300,
    checkIntervalSec: 30,
    cacheTtlSec: 120,
    breaker: { threshold: 5, timeoutSec: 30 },
    slots: 4,
  });
  expect(lines.find(({ msg }) => msg === 'ready')).toMatchObject({ tenants: { active: expect.any(Number) } });
  expect(lines.filter(({ msg }) => msg.includes('MULTI_TENANT_REDIS_HOST is not set'))).toEqual([]);
});

test('a process that stops in order is gone from the fleet at once, and without events there is a warning', async () => {
  const third = await fleet.worker({ MULTI_TENANT_REDIS_HOST: '' });
  const there = async () => (await readFleet(redis, fleet.settings)).processes.map(({ address }) => address);
  await until(async () => (await there()).includes(`127.0.0.1:${third.port}`));
  await third.stop();
  expect(await there()).toHaveLength(2);
  expect(fleet.lines.filter((line) => line.includes('MULTI_TENANT_REDIS_HOST is not set'))).toHaveLength(1);
});

test('single-tenant mode: the one tenant, the processes, and the job types that nobody works', async () => {
  const { config } = await fleet.tenant();
  const { postgres, rabbitmq } = config;
  const environment = {
    MULTI_TENANT_ENABLED: 'false',
    // Apart from whatever else uses the tests' Redis.
    MULTI_TENANT_ENVIRONMENT: `single-${randomUUID()}`,
    POSTGRES_HOST: postgres.host,
    POSTGRES_PORT: String(postgres.port),
    POSTGRES_DB: postgres.database,
    POSTGRES_USER: postgres.user,
    POSTGRES_PASSWORD: postgres.password,
    RABBITMQ_HOST: rabbitmq.host,
    RABBITMQ_PORT: String(rabbitmq.port),
    RABBITMQ_VHOST: rabbitmq.vhost,
    RABBITMQ_USER: rabbitmq.user,
    RABBITMQ_PASSWORD: rabbitmq.password,
  };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  const { log, lines } = testLog();
  const worker = await startWorker('solo', [contextApply, exportRun], loadSettings('worker'), log);
  try {
    await until(async () => (await ready(worker)).ready);
    const { tenants, processes, unworked, notes } = await until(async () => {
      const found = await tenantsDocument().catch(() => undefined);
      return found?.processes[0]?.state === 'running' && found;
    });
    expect(tenants).toMatchObject([
      { id: '11111111111111111111111111111111', name: 'default', state: 'active', consumedBy: { solo: 1 } },
    ]);
    expect(processes).toMatchObject([{ kind: 'solo', breaker: null }]);
    expect(unworked).toEqual(jobTypes.filter((type) => type !== 'context.apply' && type !== 'export.run'));
    expect(notes).toEqual([`No process works ${unworked.join(', ')}`]);
    expect(lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === 'started')).toMatchObject({
      mode: 'single-tenant',
      pools: 1,
      connectionsAtMost: 25,
    });
  } finally {
    await worker.stop();
  }
  expect((await matcher(['tenants'])).stderr).toContain('[NO_PROCESSES]');
});
