import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { asAdministrator, type Fixture, startFixture, tenantManagerEnv } from '../support/tenant-manager.ts';

/** A Tenant Manager of a bench's own, and workers as processes of their own. */
export interface BenchFleet {
  manager: Fixture;
  environment: NodeJS.ProcessEnv;
  settings: Settings;
  /** @param main of the worker, from the repository's root. */
  worker(main: string, overrides?: Record<string, string>): Promise<BenchWorker>;
  close(): Promise<void>;
}

export interface BenchWorker {
  readonly pid: number;
  /** How it ended: its exit code or the signal. */
  readonly exited: Promise<number | string>;
  ready(): Promise<{ tenants: { consuming: number } }>;
  /** The figures without labels, by name. */
  metrics(): Promise<(name: string) => number>;
  stop(): Promise<void>;
}

export async function startBenchFleet(overrides: Record<string, string> = {}): Promise<BenchFleet> {
  const database = `bench_${randomBytes(6).toString('hex')}`;
  const administrator = loadSettings('tenant-manager', tenantManagerEnv());
  await asAdministrator(administrator, `CREATE DATABASE ${database}`);
  const manager = await startFixture({ POSTGRES_DB: database, LOG_LEVEL: 'warn' });
  const [host, port] = (process.env.REDIS_HOST ?? '').split(':');
  const environment: NodeJS.ProcessEnv = {
    ...process.env,
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY,
    MULTI_TENANT_ENVIRONMENT: manager.settings.MULTI_TENANT_ENVIRONMENT,
    MULTI_TENANT_REDIS_HOST: host,
    MULTI_TENANT_REDIS_PORT: port,
    SERVER_ADDRESS: '127.0.0.1:0',
    LOG_LEVEL: 'info',
    ...overrides,
  };
  const workers: BenchWorker[] = [];
  process.once('SIGTERM', () => process.exit(143));
  return {
    manager,
    environment,
    settings: loadSettings('publisher', environment),
    async worker(main, more = {}) {
      const worker = await startProcess(resolve(import.meta.dirname, '../..', main), { ...environment, ...more });
      workers.push(worker);
      return worker;
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await manager.close();
      await asAdministrator(administrator, `DROP DATABASE ${database} WITH (FORCE)`);
      await asAdministrator(administrator, `DROP DATABASE IF EXISTS ${database}_shared WITH (FORCE)`);
    },
  };
}

async function startProcess(main: string, env: NodeJS.ProcessEnv): Promise<BenchWorker> {
  const child: ChildProcess = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  // Whatever ends the bench ends its workers.
  process.once('exit', () => child.kill('SIGKILL'));
  const started = Promise.withResolvers<number>();
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    if (line.includes('"msg":"started"')) started.resolve(JSON.parse(line).port);
    if (line.includes('"level":"error"')) process.stderr.write(`${line}\n`);
  });
  child.once('exit', (code) => started.reject(new Error(`${main} ended with ${code}`)));
  const exited = new Promise<number | string>((ended) => {
    child.once('exit', (code, signal) => ended(code ?? signal ?? 'unknown'));
  });
  const port = await started.promise;
  const get = async (path: string) => await fetch(`http://127.0.0.1:${port}${path}`);
  return {
    pid: child.pid as number,
    exited,
    async ready() {
      return (await (await get('/ready')).json()) as { tenants: { consuming: number } };
    },
    async metrics() {
      const text = await (await get('/metrics')).text();
      const figures = new Map([...text.matchAll(/^(\w+) (\S+)$/gm)].map(([, name, value]) => [name, Number(value)]));
      return (name) => figures.get(name) ?? Number.NaN;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}
