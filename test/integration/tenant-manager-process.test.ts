import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { managementProxy, openVhost, queryAs, startFixture, tenantManagerEnv } from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 60_000 });

const main = fileURLToPath(new URL('../../workers/tenant-manager/main.ts', import.meta.url));
const started: ChildProcess[] = [];

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

interface Started {
  child: ChildProcess;
  /** The first log line that contains the text, parsed. */
  line(text: string): Promise<Record<string, string>>;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

function start(env: NodeJS.ProcessEnv): Started {
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  return {
    child,
    async line(text) {
      for (;;) {
        const found = stdout.split('\n').find((line) => line.includes(text));
        if (found) return JSON.parse(found);
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${stderr}`);
        await Promise.race([once(child.stdout, 'data'), once(child, 'close')]);
      }
    },
    ended: once(child, 'close').then(([code]) => ({ code, stdout, stderr })),
  };
}

test('a wrong configuration: every problem at once, exit status 2', async () => {
  const { ended } = start({ PATH: process.env.PATH, POSTGRES_PORT: 'many', SERVER_ADDRESS: 'nowhere' });
  const { code, stderr } = await ended;
  expect(code).toBe(2);
  for (const name of [
    'POSTGRES_PORT',
    'SERVER_ADDRESS',
    'POSTGRES_HOST',
    'RABBITMQ_MANAGEMENT_URL',
    'MULTI_TENANT_SERVICE_API_KEY',
  ]) {
    expect(stderr).toContain(name);
  }
});

test.each([
  ['POSTGRES_PASSWORD', /PostgreSQL at .*password authentication failed/],
  ['RABBITMQ_PASSWORD', /RabbitMQ at .*refuses the user\. Check RABBITMQ_USER/],
])('a wrong %s: a clear error without waiting, exit status 1', async (name, message) => {
  const { ended } = start(tenantManagerEnv({ [name]: 'not-the-password' }));
  const { code, stdout } = await ended;
  expect(code).toBe(1);
  expect(stdout).toMatch(message);
  expect(stdout).not.toContain('not-the-password');
});

test('an address that is taken: exit status 1', async () => {
  const manager = await startFixture();
  const first = start(tenantManagerEnv());
  const { address } = await first.line('is up');
  const { code, stdout } = await start(tenantManagerEnv({ SERVER_ADDRESS: address })).ended;
  expect(code).toBe(1);
  expect(stdout).toContain('Cannot listen on');
  await manager.close();
});

test.each(['SIGTERM', 'SIGINT'] as const)('%s: the request under way is answered, exit status 0', async (signal) => {
  let release = () => {};
  let reached = () => {};
  const held = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const proxy = await managementProxy(process.env.RABBITMQ_MANAGEMENT_URL as string, ({ method, url }, response) => {
    if (method !== 'PUT' || !url?.startsWith('/api/permissions/')) return false;
    release = () => response.writeHead(201).end();
    reached();
    return true;
  });
  const env = tenantManagerEnv({ RABBITMQ_MANAGEMENT_URL: proxy.url });
  const { child, line, ended } = start(env);
  const { address } = await line('is up');
  const cleaner = await startFixture();
  const id = await cleaner.create();
  const answer = fetch(`http://${address}/v1/tenants/${id}/associations/matcher`, {
    method: 'POST',
    headers: { 'x-api-key': env.MULTI_TENANT_SERVICE_API_KEY as string, 'content-type': 'application/json' },
    body: JSON.stringify({ isolationMode: 'isolated' }),
  });
  await held;
  child.kill(signal);
  await line('"stopping"');
  release();
  expect((await answer).status).toBe(201);
  expect((await ended).code).toBe(0);
  await cleaner.close();
  proxy.close();
});

test('killed in the middle of provisioning: the same request to the next process completes it', async () => {
  let reached = () => {};
  const held = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const proxy = await managementProxy(process.env.RABBITMQ_MANAGEMENT_URL as string, ({ method, url }) => {
    if (method !== 'PUT' || !url?.startsWith('/api/users/')) return false;
    reached();
    return true;
  });
  const env = tenantManagerEnv({ RABBITMQ_MANAGEMENT_URL: proxy.url });
  const { child, line, ended } = start(env);
  const { address } = await line('is up');
  const { MULTI_TENANT_SERVICE_API_KEY: key } = env;
  const next = await startFixture({ MULTI_TENANT_SERVICE_API_KEY: key });
  const id = await next.create();
  const path = `/v1/tenants/${id}/associations/matcher`;
  const interrupted = fetch(`http://${address}${path}`, {
    method: 'POST',
    headers: { 'x-api-key': key as string, 'content-type': 'application/json' },
    body: JSON.stringify({ isolationMode: 'isolated' }),
  });
  const failure = expect(interrupted).rejects.toThrow();
  await held;
  child.kill('SIGKILL');
  await ended;
  await failure;
  expect((await next.call('POST', path, { isolationMode: 'isolated' })).status).toBe(201);
  const { postgres, rabbitmq } = await next.connections(id);
  await queryAs(postgres, next.settings, 'SELECT 1');
  await (await openVhost(rabbitmq)).close();
  await next.close();
  proxy.close();
});
