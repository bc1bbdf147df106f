import { randomUUID } from 'node:crypto';
import { CreateMultipartUploadCommand, type S3Client, UploadPartCommand } from '@aws-sdk/client-s3';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { drainOutbox } from '@matcher/shared/jobs/outbox.ts';
import { type Leftovers, tenantLeftovers } from '@matcher/shared/objects/leftovers.ts';
import { createS3Client, type TenantObjects, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  abortUnfinishedUploads,
  removeExpiredExports,
  removeOrphans,
} from '../../workers/scheduler/maintenance/exports.ts';
import { removeOldRecords, retentionHours } from '../../workers/scheduler/maintenance/retention.ts';
import type { RunningScheduler } from '../../workers/scheduler/start.ts';
import { Visits } from '../../workers/scheduler/visit.ts';
import { type ScheduledTenant, type SchedulerFleet, startSchedulerFleet } from '../support/scheduler.ts';
import { management } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';

const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 50_000, interval: 20 });
const never = new AbortController().signal;

let fleet: SchedulerFleet;
let tenant: ScheduledTenant;
let other: ScheduledTenant;
let scheduler: RunningScheduler | undefined;
let settings: Settings;
let s3: S3Client;
let objects: TenantObjects;
let leftovers: Leftovers;
let visits: Visits;

beforeAll(async () => {
  // Each tenant is looked after once, when it is found; its own moment of the day will hardly be now.
  fleet = await startSchedulerFleet({
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1',
    MAINTENANCE_INTERVAL_SEC: '86400',
  });
  settings = loadSettings('worker', { ...process.env, ...fleet.environment });
  s3 = createS3Client(settings);
  const { log } = testLog();
  visits = new Visits(createTenantSource(settings), settings, log);
});
afterAll(async () => {
  s3?.destroy();
  await fleet?.close();
});
beforeEach(async () => {
  tenant = await fleet.tenant();
  other = await fleet.tenant();
  objects = tenantObjects(s3, settings, tenant.id);
  leftovers = tenantLeftovers(s3, settings, tenant.id);
});
afterEach(async () => {
  await scheduler?.stop();
  scheduler = undefined;
  await fleet.manager.remove(tenant.id);
  await fleet.manager.remove(other.id);
});

/** Runs a scheduler until it has looked after both tenants. */
const lookedAfter = async () => {
  scheduler = await fleet.scheduler();
  await until(async () => (await metric('matcher_maintenance_total{outcome="done"}')) >= 2);
};
const metric = async (line: string) => {
  const text = await (await fetch(`http://127.0.0.1:${scheduler?.port}/metrics`)).text();
  return Number(
    text
      .split('\n')
      .find((one) => one.startsWith(`${line} `))
      ?.split(' ')[1] ?? 0,
  );
};
const insertJob = (id: string, state: string, days: number) =>
  tenant.client.query(
    `INSERT INTO jobs (id, type, body, body_sha256, state, created_at, finished_at)
     VALUES ($1, 'export.run', '{}', '', $2, now() - make_interval(days => $3), CASE WHEN $2 IN ('RUNNING', 'WAITING') THEN NULL ELSE now() - make_interval(days => $3) END)`,
    [id, state, days],
  );
const insertExport = (contextId: number, jobId: string, key: string, expiresInDays: number) =>
  tenant.client.query(
    `INSERT INTO exports (job_id, context_id, report, format, object_key, file_name, rows, bytes, sha256, expires_at)
     VALUES ($1, $2, 'MATCHED', 'CSV', $3, 'x.csv', 0, 1, '', now() + make_interval(days => $4))`,
    [jobId, contextId, key, expiresInDays],
  );
const ids = async (table: string, column = 'id') =>
  (await tenant.client.query(`SELECT ${column} AS id FROM ${table} ORDER BY 1`)).rows.map(({ id }) => id);
const keys = async () => (await Array.fromAsync(objects.list('exports/'))).sort();
const exportKey = (job: string) => `exports/bank/${job}/0a1b2c3d/bank-matched-2026-01-15.csv`;
/** Connections of any process to the tenant's database, the test's own apart. */
const connections = async () =>
  (
    await tenant.client.query(
      'SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
  ).rows;

const vhostConnections = async () => {
  const answer = await management(fleet.manager.settings, 'GET', 'connections');
  const all = (await answer.json()) as { client_properties?: { connection_name?: string } }[];
  return all.map(({ client_properties }) => client_properties?.connection_name ?? '');
};

describe('a tenant that nobody works for is looked after', () => {
  test('events that a crash left in its outbox leave, and nothing stays connected', async () => {
    const { queue } = await tenant.channel.assertQueue('', { exclusive: true });
    await tenant.channel.bindQueue(queue, eventsExchange, '#');
    const heard: string[] = [];
    await tenant.channel.consume(queue, (message) => message && heard.push(message.properties.messageId), {
      noAck: true,
    });
    const eventId = randomUUID();
    await tenant.client.query(
      `INSERT INTO outbox (event_id, event_type, body) VALUES ($1, 'matching.completed', '{}')`,
      [eventId],
    );
    await lookedAfter();
    await until(() => heard.includes(eventId));
    await until(async () => (await ids('outbox', 'event_id')).length === 0);
    await until(async () => (await connections()).length === 0);
    await until(async () => !(await vhostConnections()).some((name) => name.includes(tenant.id)));
  });

  test('its vhost is not connected to when there is nothing to send', async () => {
    await visits.visit(tenant.id, async ({ db, vhost }) => {
      await drainOutbox(db, vhost, tenant.id, never);
      await db.query('SELECT pg_sleep(0.2)');
      expect(vhost.connected).toBe(false);
      expect(vhost.link).toBeUndefined();
      await vhost.publishChannel();
      expect(vhost.connected).toBe(true);
    });
  });

  test('its exports go when their time is over, with their objects', async () => {
    const context = await tenant.context('bank');
    for (const job of ['old', 'new']) await objects.put(exportKey(job), 'x');
    await insertExport(context, 'old', exportKey('old'), -1);
    await insertExport(context, 'new', exportKey('new'), 1);
    // Its object is gone already, as after a crash in between.
    await insertExport(context, 'gone', exportKey('gone'), -1);
    await lookedAfter();
    expect(await ids('exports', 'job_id')).toEqual(['new']);
    expect(await keys()).toEqual([exportKey('new')]);
    expect(await metric('matcher_maintenance_items_total{kind="expired"}')).toBe(2);
  });

  test('records of jobs go when they are old', async () => {
    await insertJob('old', 'SUCCEEDED', 31);
    await insertJob('new', 'SUCCEEDED', 29);
    await lookedAfter();
    expect(await ids('jobs')).toEqual(['new']);
    expect(await metric('matcher_maintenance_items_total{kind="records"}')).toBe(1);
  });

  test('once per interval, each tenant at its own moment', async () => {
    scheduler = await fleet.scheduler({ MAINTENANCE_INTERVAL_SEC: '1' });
    await until(async () => (await metric('matcher_maintenance_total{outcome="done"}')) >= 6);
    const [one, two] = await Promise.all(
      [tenant, other].map(
        async ({ id }) => Number(await fleet.redis.zscore(`${fleet.prefix}:maintenance:repeat`, id)) % 1000,
      ),
    );
    expect(one).not.toBe(two);
    expect(await metric('matcher_maintenance_total{outcome="failed"}')).toBe(0);
    await scheduler.stop();
    await until(async () => (await connections()).length === 0);
  });

  test('a step that fails is counted by its code, and the other steps are done', async () => {
    await tenant.client.query('DROP TABLE outbox');
    await insertJob('old', 'SUCCEEDED', 31);
    scheduler = await fleet.scheduler();
    await until(async () => (await metric('matcher_maintenance_total{outcome="failed"}')) >= 1);
    await until(async () => (await metric('matcher_maintenance_total{outcome="done"}')) >= 1);
    expect(await metric('matcher_maintenance_failures_total{step="outbox",code="42P01"}')).toBe(1);
    expect(await ids('jobs')).toEqual([]);
  });
});

describe('what is left over in a bucket', () => {
  const soon = () => new Date(Date.now() + 60_000);
  const longAgo = () => new Date(Date.now() - 3_600_000);

  test('is removed when no export tells of it and it is old, and nothing else is', async () => {
    const context = await tenant.context('bank');
    const theirs = tenantObjects(s3, settings, other.id);
    const kept = ['exports/readme.txt', 'exports/bank/2025/report.csv', exportKey('known'), 'uploads/bank.csv'];
    for (const key of [...kept, exportKey('orphan')]) await objects.put(key, 'x');
    await theirs.put(exportKey('orphan'), 'x');
    await insertExport(context, 'known', exportKey('known'), 1);
    await visits.visit(tenant.id, async ({ db }) => {
      expect(await removeOrphans(db, objects, leftovers, longAgo(), never)).toBe(0);
      expect(await removeOrphans(db, objects, leftovers, soon(), never)).toBe(1);
    });
    expect((await Array.fromAsync(objects.list(''))).sort()).toEqual(kept.toSorted());
    expect(await theirs.size(exportKey('orphan'))).toBe(1);
  });

  test('is aborted when it is an upload that nobody finished', async () => {
    const begin = async (id: string) => {
      const at = { Bucket: settings.OBJECT_STORAGE_BUCKET, Key: `${id}/exports/big.csv` };
      const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at));
      await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber: 1, Body: Buffer.from('x') }));
    };
    await begin(tenant.id);
    await begin(other.id);
    expect((await Array.fromAsync(leftovers.uploads())).map(({ key }) => key)).toEqual(['exports/big.csv']);
    expect(await abortUnfinishedUploads(leftovers, longAgo(), never)).toBe(0);
    expect(await abortUnfinishedUploads(leftovers, soon(), never)).toBe(1);
    expect(await Array.fromAsync(leftovers.uploads())).toEqual([]);
    expect(await Array.fromAsync(tenantLeftovers(s3, settings, other.id).uploads())).toHaveLength(1);
  });
});

describe('the record of a job', () => {
  const remove = (hours = 30 * 24) => visits.visit(tenant.id, ({ db }) => removeOldRecords(db, hours, never));

  test('is removed in whatever state the job has ended, and stays while it has not', async () => {
    for (const state of ['SUCCEEDED', 'FAILED', 'CANCELLED', 'DUPLICATE', 'RUNNING', 'WAITING'])
      await insertJob(state, state, 31);
    expect(await remove()).toEqual({ records: 4, cancellations: 0 });
    expect(await ids('jobs')).toEqual(['RUNNING', 'WAITING']);
  });

  test('stays while something in the database refers to it', async () => {
    const context = await tenant.context('bank');
    for (const id of ['load', 'run', 'export', 'rejections', 'nothing']) await insertJob(id, 'SUCCEEDED', 31);
    await tenant.client.query(
      `WITH source AS (INSERT INTO sources (context_id, name, type, side, field_map) VALUES ($1, 'bank', 'BANK', 'LEFT', '{}') RETURNING id)
       INSERT INTO loads (context_id, source_id, job_id, records) SELECT $1, id, 'load', 1 FROM source`,
      [context],
    );
    await tenant.client.query(
      `INSERT INTO match_runs (job_id, context_id, mode, statistics) VALUES ('run', $1, 'COMMIT', '{}')`,
      [context],
    );
    await insertExport(context, 'export', 'exports/x', 1);
    await tenant.client.query(
      `INSERT INTO rejected_records (job_id, row, reason, code) VALUES ('rejections', 1, 'x', 'X')`,
    );
    expect(await remove()).toEqual({ records: 1, cancellations: 0 });
    expect(await ids('jobs')).toEqual(['export', 'load', 'rejections', 'run']);
  });

  test('takes its cancellation along, and an old cancellation of a job that never came goes too', async () => {
    await insertJob('old', 'CANCELLED', 31);
    await insertJob('waiting', 'WAITING', 31);
    for (const [job, days] of Object.entries({ old: 31, waiting: 31, unheard: 31, recent: 1 })) {
      await tenant.client.query(
        'INSERT INTO job_cancellations (job_id, requested_at) VALUES ($1, now() - make_interval(days => $2))',
        [job, days],
      );
    }
    expect(await remove()).toEqual({ records: 1, cancellations: 1 });
    expect(await ids('job_cancellations', 'job_id')).toEqual(['recent', 'waiting']);
  });

  test('goes in batches, however many there are', async () => {
    await tenant.client.query(
      `INSERT INTO jobs (id, type, body, body_sha256, state, created_at, finished_at)
       SELECT n::text, 'export.run', '{}', '', 'SUCCEEDED', now() - interval '40 days', now() - interval '40 days'
         FROM generate_series(1, 2500) AS n`,
    );
    expect(await remove()).toEqual({ records: 2500, cancellations: 0 });
  });

  test('is kept at least for as long as its message or its idempotency key can come back', () => {
    const kept = (overrides: Partial<Settings>) => retentionHours({ ...settings, ...overrides });
    expect(kept({})).toBe(30 * 24);
    expect(kept({ JOB_RETENTION_DAYS: 1 })).toBe(168);
    expect(kept({ JOB_RETENTION_DAYS: 1, JOB_PATIENCE_HOURS: 500 })).toBe(1000);
  });
});

test('an export that can’t be removed from the bucket keeps its row, and is tried again', async () => {
  const context = await tenant.context('bank');
  await insertExport(context, 'old', exportKey('old'), -1);
  const away = { ...objects, delete: () => Promise.reject(new Error('the bucket is away')) };
  await expect(visits.visit(tenant.id, ({ db }) => removeExpiredExports(db, away, never))).rejects.toThrow('away');
  expect(await ids('exports', 'job_id')).toEqual(['old']);
});
