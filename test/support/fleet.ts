import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { AnyJobDefinition } from '@matcher/shared/jobs/definition.ts';
import type { JobEnd } from '@matcher/shared/jobs/follow.ts';
import { createS3Client, type TenantObjects, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { createLog, type Logger } from '@matcher/shared/observability/log.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { type RunningWorker, startWorker } from '@matcher/shared/process/run-worker.ts';
import type { FleetTiming } from '@matcher/shared/tenancy/fleet-share.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { Client } from 'pg';
import { everyJob } from './every-job.ts';
import {
  asAdministrator,
  type Fixture,
  type IsolationMode,
  queryAs,
  startFixture,
  tenantManagerEnv,
} from './tenant-manager.ts';

const root = resolve(import.meta.dirname, '../..');

/** A Tenant Manager and a worker that does every kind of job, in this process and on the tests' servers. */
export interface TestFleet {
  manager: Fixture;
  /** The environment for further worker processes of this fleet. */
  environment: Record<string, string>;
  settings: Settings;
  log: Logger;
  /** What its processes logged, line by line. */
  lines: string[];
  /** A new tenant, and what a test needs to work with it. */
  tenant(isolationMode?: IsolationMode): Promise<TestTenant>;
  /** A further worker inside this process. `definitions`: what it does, in place of every kind of job there is. */
  worker(
    overrides?: Record<string, string>,
    timing?: FleetTiming,
    definitions?: readonly AnyJobDefinition[],
  ): Promise<RunningWorker>;
  /** A worker as a process of its own, that can be killed. */
  spawnWorker(
    kind: 'ingest' | 'matching' | 'export' | 'scripted',
    overrides?: Record<string, string>,
  ): Promise<ChildProcess>;
  close(): Promise<void>;
}

export interface TestTenant {
  id: TenantId;
  config: TenantConfig;
  client: JobClient;
  objects: TenantObjects;
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they select
  query(sql: string, values?: any[]): Promise<any[]>;
  /** Publishes a job and waits for its end. */
  run<T extends JobType>(type: T, body: JobBodyInput<T>, id?: string): Promise<JobEnd<T>>;
  /** Locks a table of the tenant's database, so that whoever writes to it stands still in the middle of its transaction. */
  hold(table: string): Promise<{ waiting(): Promise<boolean>; release(): Promise<void> }>;
  /** As `run`, for a job that has to succeed. */
  done<T extends JobType>(type: T, body: JobBodyInput<T>, id?: string): Promise<JobResult<T>>;
}

/** @param options.workers how many workers start with it; a test that starts its own wants none. */
export async function startFleet(
  options: { workers?: number; overrides?: Record<string, string> } = {},
): Promise<TestFleet> {
  // A Tenant Manager's database of its own: this fleet's workers see this fleet's tenants and no other test's.
  const database = `manager_${randomBytes(6).toString('hex')}`;
  const administrator = loadSettings('tenant-manager', tenantManagerEnv());
  await asAdministrator(administrator, `CREATE DATABASE ${database}`);
  const manager = await startFixture({ POSTGRES_DB: database });
  const lines: string[] = [];
  const log = createLog({ ENV_NAME: 'test', LOG_LEVEL: 'debug' }, 'worker', { write: (line) => void lines.push(line) });
  const environment: Record<string, string> = {
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY ?? '',
    MULTI_TENANT_ENVIRONMENT: manager.settings.MULTI_TENANT_ENVIRONMENT ?? '',
    SERVER_ADDRESS: '127.0.0.1:0',
    JOB_LEASE_SEC: '3',
    ...options.overrides,
  };
  const settings = loadSettings('worker', { ...process.env, ...environment });
  const workers: RunningWorker[] = [];
  const children: ChildProcess[] = [];
  const clients: JobClient[] = [];
  const s3 = createS3Client(settings);

  const fleet: TestFleet = {
    manager,
    environment,
    settings,
    log,
    lines,
    async worker(overrides = {}, timing = undefined, definitions = everyJob) {
      const own = loadSettings('worker', { ...process.env, ...environment, ...overrides });
      const worker = await startWorker('worker', definitions, own, log, timing);
      workers.push(worker);
      await until(async () => (await fetch(`http://127.0.0.1:${worker.port}/ready`)).ok);
      return worker;
    },
    async spawnWorker(kind, overrides = {}) {
      const main = kind === 'scripted' ? 'test/support/scripted-worker.ts' : `workers/${kind}/main.ts`;
      const child = spawn(process.execPath, [resolve(root, main)], {
        env: { ...process.env, ...environment, ...overrides },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      child.stdout?.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n')));
      await until(() => lines.some((line) => line.includes(`"pid":${child.pid},`) && line.includes('"msg":"started"')));
      return child;
    },
    async tenant(isolationMode) {
      const config = await manager.onboard(undefined, isolationMode);
      const client = await openJobClient({ settings, tenantId: config.tenantId, log });
      clients.push(client);
      const tenant: TestTenant = {
        id: config.tenantId,
        config,
        client,
        objects: tenantObjects(s3, settings, config.tenantId),
        query: (sql, values) => queryAs(config.postgres, settings, sql, values),
        async run<T extends JobType>(type: T, body: JobBodyInput<T>, id?: string) {
          const jobId = await client.publish(type, body, id === undefined ? {} : { id });
          return await client.follow<T>(jobId);
        },
        hold: (table) => hold(config, settings, table),
        async done(type, body, id) {
          const end = await tenant.run(type, body, id);
          if (end.state === 'FAILED') throw new Error(`${type} failed: ${end.error.code} ${end.error.message}`);
          if (end.state !== 'SUCCEEDED') throw new Error(`${type} is ${end.state}`);
          return end.result;
        },
      };
      return tenant;
    },
    async close() {
      await Promise.all(clients.map((client) => client.close()));
      await Promise.all(workers.map((worker) => worker.stop()));
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      s3.destroy();
      await manager.close();
      await asAdministrator(administrator, `DROP DATABASE ${database} WITH (FORCE)`);
      await asAdministrator(administrator, `DROP DATABASE IF EXISTS ${database}_shared WITH (FORCE)`);
    },
  };
  for (let i = 0; i < (options.workers ?? 1); i++) await fleet.worker();
  return fleet;
}

async function hold({ postgres }: TenantConfig, settings: Settings, table: string) {
  const client = new Client(connectionOptions(postgres, settings, 'holder'));
  await client.connect();
  await client.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  return {
    async waiting() {
      const { rows } = await client.query('SELECT 1 FROM pg_locks WHERE relation = $1::regclass AND NOT granted', [
        table,
      ]);
      return rows.length > 0;
    },
    async release() {
      await client.query('ROLLBACK');
      await client.end();
    },
  };
}

/** Waits until `condition` holds; the test's own time limit says when it should have. */
export async function until<T>(condition: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (;;) {
    const value = await condition();
    if (value) return value as NonNullable<T>;
    await delay(20);
  }
}
