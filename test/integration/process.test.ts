import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';

vi.setConfig({ testTimeout: 30_000 });

const root = resolve(import.meta.dirname, '../..');
const started: ChildProcess[] = [];
let fleet: TestFleet;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
});
afterAll(() => fleet.close());
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

interface Started {
  child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** The first log line with this message. */
  line(message: string): Promise<{ port: number; reason: string }>;
  ended: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
}

function start(main: string, env: NodeJS.ProcessEnv, channel: 'ipc' | 'ignore' = 'ignore'): Started {
  const child = spawn(process.execPath, [resolve(root, 'workers', main)], {
    env,
    stdio: ['ignore', 'pipe', 'pipe', channel],
  });
  started.push(child);
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text) => {
      texts[name] += text;
    });
  }
  return {
    child,
    stdout: () => texts.stdout,
    stderr: () => texts.stderr,
    line: (message) =>
      until(() => {
        const found = texts.stdout.split('\n').find((line) => line.includes(`"msg":"${message}"`));
        if (!found && child.exitCode !== null) throw new Error(`it ended: ${texts.stdout}${texts.stderr}`);
        return found && JSON.parse(found);
      }),
    ended: once(child, 'close') as Started['ended'],
  };
}

const worker = (env: NodeJS.ProcessEnv = {}, channel?: 'ipc') =>
  start('matching/main.ts', { ...process.env, ...fleet.environment, ...env }, channel);

const get = (port: number, path: string) => fetch(`http://127.0.0.1:${port}${path}`);

/** A server that lets everybody in, says nothing, and knows who came. */
async function silentServer() {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on('error', () => {});
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { port: (server.address() as AddressInfo).port, connections: () => connections, close: () => server.close() };
}

test.each(['ingest', 'matching', 'export'])(
  'a wrong configuration: %s prints every problem at once, connects to nothing and ends with status 2',
  async (kind) => {
    const server = await silentServer();
    const { ended, stdout, stderr } = start(`${kind}/main.ts`, {
      PATH: process.env.PATH,
      MULTI_TENANT_ENABLED: 'true',
      MULTI_TENANT_URL: `http://127.0.0.1:${server.port}`,
      MULTI_TENANT_REDIS_HOST: '127.0.0.1',
      MULTI_TENANT_REDIS_PORT: String(server.port),
      REDIS_HOST: `127.0.0.1:${server.port}`,
      OBJECT_STORAGE_ENDPOINT: `http://127.0.0.1:${server.port}`,
      SERVER_ADDRESS: '127.0.0.1:0',
      LOG_LEVEL: 'loud',
      JOB_SLOTS: '0',
    });
    expect(await ended).toEqual([2, null]);
    const named = [...stderr().matchAll(/^ {2}([A-Z_]+) /gm)].map(([, name]) => name);
    expect(named.sort()).toEqual(['JOB_SLOTS', 'LOG_LEVEL', 'MULTI_TENANT_SERVICE_API_KEY', 'OBJECT_STORAGE_BUCKET']);
    expect(stdout()).toBe('');
    expect(server.connections()).toBe(0);
    server.close();
  },
);

test('an address that is taken: status 1, and it says which', async () => {
  const taken = await silentServer();
  const { ended, stdout } = worker({ SERVER_ADDRESS: `127.0.0.1:${taken.port}` });
  expect(await ended).toEqual([1, null]);
  expect(stdout()).toContain(`EADDRINUSE: address already in use 127.0.0.1:${taken.port}`);
  taken.close();
});

describe('/health and /ready', () => {
  test('a worker that knows its tenants is alive and ready', async () => {
    const { line } = worker();
    const { port } = await line('started');
    await until(async () => (await get(port, '/ready')).ok);
    expect(await (await get(port, '/health')).json()).toEqual({ status: 'ok' });
    expect(await (await get(port, '/ready?verbose')).json()).toEqual({
      ready: true,
      state: 'running',
      reasons: [],
      tenants: { active: 0, share: 0, consuming: 0 },
      refused: {},
      pools: { open: 0, leased: 0, waiting: 0 },
      breaker: 'closed',
      listComparedSecAgo: expect.any(Number),
    });
    expect((await get(port, '/elsewhere')).status).toBe(404);
  });

  test('one that could not read the list of tenants yet is alive, and not ready', async () => {
    const { line } = worker({ MULTI_TENANT_URL: 'http://127.0.0.1:1' });
    const { port } = await line('started');
    await line('the list of active tenants cannot be read');
    expect((await get(port, '/health')).status).toBe(200);
    const ready = await get(port, '/ready');
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      ready: false,
      state: 'starting',
      reasons: ['the list of active tenants could not be read yet'],
      listComparedSecAgo: null,
    });
  });
});

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('%s to an idle worker: status 0', async (signal) => {
    const { child, line, ended } = worker();
    await line('started');
    child.kill(signal);
    expect(await ended).toEqual([0, null]);
    expect((await line('stopping')).reason).toBe(signal);
  });

  test('a signal during the start: it ends at once, with status 0', async () => {
    const silent = await silentServer();
    const { child, ended } = start('tenant-manager/main.ts', {
      ...process.env,
      MULTI_TENANT_SERVICE_API_KEY: 'key',
      MULTI_TENANT_ENVIRONMENT: 'test',
      SERVER_ADDRESS: '127.0.0.1:0',
      // Waits for the answer of a server that never gives one.
      POSTGRES_HOST: '127.0.0.1',
      POSTGRES_PORT: String(silent.port),
    });
    await until(() => silent.connections() > 0);
    const told = performance.now();
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(performance.now() - told).toBeLessThan(3000);
    silent.close();
  });

  test('of the parent’s channel: the worker stops in order', async () => {
    const { child, line } = worker({}, 'ipc');
    const ended = once(child, 'exit');
    await line('started');
    child.disconnect();
    expect(await ended).toEqual([0, null]);
    expect((await line('stopping')).reason).toBe('the parent is gone');
    await line('stopped');
  });

  test('of a parent that was killed, with the pipes it read from: the worker ends too', async () => {
    const main = JSON.stringify(resolve(root, 'workers/matching/main.ts'));
    const parent = spawn(
      process.execPath,
      [
        '-e',
        `const child = require('node:child_process').spawn(process.execPath, [${main}], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
         child.stdout.on('data', (text) => String(text).includes('"started"') && console.log(child.pid));`,
      ],
      { env: { ...process.env, ...fleet.environment }, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    started.push(parent);
    const [text] = await once(parent.stdout as NodeJS.ReadableStream, 'data');
    const pid = Number(text);
    expect(pid).toBeGreaterThan(0);
    parent.kill('SIGKILL');
    await until(() => !isRunning(pid));
  });

  describe('while a job runs', () => {
    let databases: TestDatabases;
    let tenant: TestTenant;

    beforeAll(async () => {
      databases = await openTestDatabases();
      tenant = await fleet.tenant();
    });
    afterAll(() => databases.close());

    /** A worker in the middle of a job that ends when `go` is called. */
    async function working() {
      const running = worker();
      const { port } = await running.line('started');
      const first = await tenant.client.publish('context.apply', { version: 1, context: simpleContext() });
      await tenant.client.follow(first);
      const holder = await databases.connect(tenant.config);
      await holder.query('BEGIN; LOCK TABLE contexts IN ACCESS EXCLUSIVE MODE');
      const changed = simpleContext({ name: `held-${port}` });
      const jobId = await tenant.client.publish('context.apply', { version: 1, context: changed });
      await until(async () => (await locked()).length > 0);
      return { ...running, port, jobId, go: () => holder.query('ROLLBACK') };
    }
    const locked = () =>
      databases.ask(`SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'`, [
        tenant.config.postgres.database,
      ]);

    test('SIGTERM: it is no longer ready, finishes the job, and ends with status 0', async () => {
      const { child, port, line, ended, go, jobId } = await working();
      child.kill('SIGTERM');
      await line('stopping');
      expect((await get(port, '/health')).status).toBe(200);
      const ready = await get(port, '/ready');
      expect(ready.status).toBe(503);
      expect(await ready.json()).toMatchObject({ ready: false, state: 'draining' });
      await go();
      expect(await ended).toEqual([0, null]);
      expect(await tenant.client.read(jobId)).toMatchObject({ state: 'SUCCEEDED' });
    });

    test('a second signal: it ends at once', async () => {
      const { child, line, ended, go } = await working();
      child.kill('SIGTERM');
      await line('stopping');
      child.kill('SIGTERM');
      expect(await ended).toEqual([1, null]);
      await go();
    });
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
