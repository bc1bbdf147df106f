import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { progressKey } from '@matcher/shared/jobs/progress.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { type RunningWorker, startWorker } from '@matcher/shared/process/run-worker.ts';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { createRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import { singleTenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createBucket, type TestBucket } from '../support/bucket.ts';
import { csv, simpleContext } from '../support/contexts.ts';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { everyJob } from '../support/every-job.ts';
import { startFleet, until } from '../support/fleet.ts';
import { matcher } from '../support/matcher.ts';
import { management, openVhost } from '../support/tenant-manager.ts';

/** One tenant, its database, vhost and bucket named by the environment, and no Tenant Manager anywhere. */

const uuid = randomUUID();
const tenantId = canonicalTenantId(uuid);
const vhost = `single-${randomBytes(6).toString('hex')}`;

let environment: Record<string, string>;
let settings: Settings;
let databases: TestDatabases;
let bucket: TestBucket;
let worker: RunningWorker;
let client: JobClient;
const lines: string[] = [];

beforeAll(async () => {
  databases = await openTestDatabases();
  const { postgres } = await databases.create();
  bucket = await createBucket();
  await management(databases.settings, 'PUT', `vhosts/${vhost}`);
  environment = {
    MULTI_TENANT_ENABLED: 'false',
    MULTI_TENANT_URL: '',
    DEFAULT_TENANT_ID: uuid,
    DEFAULT_TENANT_SLUG: 'only-one',
    POSTGRES_DB: postgres.database,
    RABBITMQ_VHOST: vhost,
    OBJECT_STORAGE_BUCKET: bucket.name,
    SERVER_ADDRESS: '127.0.0.1:0',
  };
  settings = loadSettings('worker', { ...process.env, ...environment });
  const log = createLog({ ENV_NAME: 'test', LOG_LEVEL: 'debug' }, 'worker', { write: (line) => void lines.push(line) });
  worker = await startWorker('worker', everyJob, settings, log);
  await until(async () => (await fetch(`http://127.0.0.1:${worker.port}/ready`)).ok);
  client = await openJobClient({ settings, tenantId, log });
});
afterAll(async () => {
  await client?.close();
  await worker?.stop();
  await management(databases.settings, 'DELETE', `vhosts/${vhost}`);
  await databases?.close();
  await bucket?.remove();
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const use = (env: Record<string, string>) => {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
};

const ledger = csv(Array.from({ length: 20 }, (_, i) => ({ id: `l${i}`, amount: `${i}.10`, ref: `R${i}` })));
const statement = csv(Array.from({ length: 20 }, (_, i) => ({ id: `r${i}`, amount: `${i}.10`, ref: `R${i}` })));

test('the same workers do every kind of job, over bare keys and paths', async () => {
  use(environment);
  const folder = await mkdtemp(join(tmpdir(), 'matcher-single-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = (name: string) => join(folder, name);
  await writeFile(file('context.json'), JSON.stringify({ version: 1, ...simpleContext() }));
  await writeFile(file('ledger.csv'), ledger);
  await writeFile(file('statement.csv'), statement);
  const done = async (...args: string[]) => {
    const { status, stdout, stderr } = await matcher([...args, '--json']);
    expect(status, stdout + stderr).toBe(0);
    return JSON.parse(stdout);
  };
  await done('context', 'apply', file('context.json'));
  await done('ingest', file('ledger.csv'), '--context', 'bank', '--source', 'ledger', '--wait');
  await done('ingest', file('statement.csv'), '--context', 'bank', '--source', 'statement', '--wait', '--tenant', uuid);
  const matched = await done('match', '--context', 'bank', '--wait');
  expect(matched.result).toMatchObject({ matched: 20 });
  const exported = await done('export', '--context', 'bank', '--report', 'MATCHED', '--output', file('matched.csv'));
  expect((await readFile(file('matched.csv'), 'utf8')).trim().split('\n')).toHaveLength(21);
  expect((await fetch(exported.result.url)).status).toBe(200);

  const keys = await bucket.keys();
  expect(keys).toHaveLength(3);
  expect(keys.every((key) => /^(uploads|exports)\//.test(key))).toBe(true);
  expect(keys).toContain(exported.result.objectKey);
  const redis = createRedis(settings, createLog({ ENV_NAME: 'test', LOG_LEVEL: 'silent' }, 'test'));
  await until(() => redis.status === 'ready');
  await until(async () => (await redis.exists(progressKey(exported.jobId))) === 1);
  expect(await redis.keys(`*${exported.jobId}*`)).toEqual([progressKey(exported.jobId)]);
  const switched = tenantRedis(redis, keySpaceOf({ MULTI_TENANT_ENABLED: true }, tenantId));
  expect(await switched.get(progressKey(exported.jobId))).toBeNull();
  redis.disconnect();
});

test('the Tenant Manager is not asked: none is configured, and the worker is ready', async () => {
  expect(settings.MULTI_TENANT_URL).toBeUndefined();
  expect(lines.find((line) => line.includes('"msg":"started"'))).toContain('"mode":"single-tenant"');
  const ready = await fetch(`http://127.0.0.1:${worker.port}/ready`);
  expect([ready.status, await ready.json()]).toMatchObject([200, { ready: true }]);
});

test('a command for another tenant is refused', async () => {
  use(environment);
  const { status, stderr } = await matcher(['match', '--context', 'bank', '--tenant', randomUUID()]);
  expect([status, stderr]).toEqual([1, expect.stringContaining('[TENANT_NOT_FOUND]')]);
});

describe('X-Tenant-ID', () => {
  async function publish(header: unknown) {
    const connection = await openVhost(singleTenantConfig(settings).rabbitmq);
    const channel = await connection.createConfirmChannel();
    const messageId = randomUUID();
    const content = Buffer.from(JSON.stringify({ version: 1, context: simpleContext() }));
    const headers = header === undefined ? {} : { [tenantHeader]: header };
    channel.publish(jobsExchange, 'context.apply', content, { messageId, type: 'context.apply', headers });
    await channel.waitForConfirms();
    return { messageId, channel, connection };
  }

  test.each([
    ['with dashes', uuid],
    ['without dashes', tenantId as string],
    ['in upper case', uuid.toUpperCase()],
  ])('is the default tenant’s, in every spelling: %s', async (_what, header) => {
    const { messageId, connection } = await publish(header);
    expect(await client.follow(messageId)).toMatchObject({ state: 'SUCCEEDED' });
    await connection.close();
  });

  test.each<[string, unknown, string]>([
    ['an unknown tenant’s', randomUUID(), 'TENANT_MISMATCH'],
    ['the slug', 'only-one', 'TENANT_MISMATCH'],
    ['none', undefined, 'TENANT_MISSING'],
  ])('of anybody else is a dead letter: %s', async (_what, header, code) => {
    const { messageId, channel, connection } = await publish(header);
    const dead = await until(async () => {
      const message = await channel.get(deadLetters);
      if (message) channel.ack(message);
      return message && message.properties.messageId === messageId ? message : undefined;
    });
    expect(dead.properties.headers?.[deathHeaders.code]).toBe(code);
    expect(await client.read(messageId)).toBeUndefined();
    await connection.close();
  });
});

test('after the switch to multi-tenant mode and matcher objects migrate, the old keys work as the tenant’s own', async () => {
  const fleet = await startFleet({ overrides: { OBJECT_STORAGE_BUCKET: bucket.name } });
  try {
    const tenant = await fleet.tenant();
    await bucket.put('uploads/before/ledger.csv', ledger);
    const [old] = await bucket.keys('exports/');
    use(fleet.environment);
    const { status, stdout } = await matcher(['objects', 'migrate', '--tenant', tenant.id, '--json']);
    expect([status, JSON.parse(stdout)]).toMatchObject([0, { moved: { objects: 4 }, problems: { count: 0 } }]);
    const link = await tenant.objects.presign(old as string, 'matched.csv');
    expect((await (await fetch(link.url)).text()).trim().split('\n')).toHaveLength(21);

    await tenant.done('context.apply', { version: 1, context: simpleContext() });
    const objectKey = 'uploads/before/ledger.csv';
    const body = { version: 1, context: 'bank', source: 'ledger', objectKey, format: 'CSV' } as const;
    expect(await tenant.done('ingestion.run', body)).toMatchObject({ added: 20 });
  } finally {
    await fleet.close();
  }
});
