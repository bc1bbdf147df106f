import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Fixture, startFixture } from '../support/tenant-manager.ts';
import { startTlsProxy } from '../support/tls-proxy.ts';

vi.setConfig({ testTimeout: 60_000 });

let manager: Fixture;
beforeAll(async () => {
  manager = await startFixture();
});
afterAll(() => manager.close());

const program = `
  import { once } from 'node:events';
  import { loadSettings } from '@matcher/shared/config/load.ts';
  import { createLog } from '@matcher/shared/observability/log.ts';
  import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
  import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
  const settings = loadSettings('publisher');
  const logged = { subscribed: Promise.withResolvers(), refused: Promise.withResolvers() };
  const log = createLog(settings, 'test', {
    write: (line) => {
      process.stdout.write(line);
      if (line.includes('"subscribed')) logged.subscribed.resolve();
      if (line.includes('Redis is not reachable')) logged.refused.resolve();
    },
  });
  const directory = new TenantDirectory(createTenantSource(settings), settings, log);
  directory.start();
  await logged[process.env.STOP_WHEN]?.promise;
  if (process.env.STOP_WHEN === 'compared') await once(directory, 'compared');
  await directory.stop();
`;

/** A process that only has a directory. */
function runDirectory(env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
    cwd: resolve(import.meta.dirname, '../..'),
    env: {
      ...process.env,
      MULTI_TENANT_ENABLED: 'true',
      MULTI_TENANT_URL: manager.address,
      MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY,
      MULTI_TENANT_ENVIRONMENT: `test-${randomBytes(4).toString('hex')}`,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return { output: () => text, exit: once(child, 'exit') };
}

describe('stop ends everything, so that a process that only has a directory ends by itself', () => {
  test.each<[string, NodeJS.ProcessEnv]>([
    ['at once after the start', { STOP_WHEN: 'started' }],
    ['after the first list', { STOP_WHEN: 'compared' }],
    ['after the subscription', { STOP_WHEN: 'subscribed' }],
    ['with Redis away', { STOP_WHEN: 'compared', MULTI_TENANT_REDIS_PORT: '1' }],
    ['with the Tenant Manager away', { STOP_WHEN: 'subscribed', MULTI_TENANT_URL: 'http://127.0.0.1:1' }],
  ])('%s', async (_when, env) => {
    expect(await runDirectory(env).exit).toEqual([0, null]);
  });
});

test('the subscription goes over TLS when MULTI_TENANT_REDIS_TLS says so, and the certificate is checked', async () => {
  const { MULTI_TENANT_REDIS_HOST: host, MULTI_TENANT_REDIS_PORT: port } = process.env;
  const proxy = await startTlsProxy(host as string, Number(port));
  const env = {
    MULTI_TENANT_REDIS_HOST: proxy.host,
    MULTI_TENANT_REDIS_PORT: String(proxy.port),
    MULTI_TENANT_REDIS_TLS: 'true',
  };
  const trusting = runDirectory({ ...env, STOP_WHEN: 'subscribed', NODE_EXTRA_CA_CERTS: proxy.ca.file });
  expect(await trusting.exit).toEqual([0, null]);
  expect(proxy.handshakes).toBe(1);
  const doubting = runDirectory({ ...env, STOP_WHEN: 'refused' });
  expect(await doubting.exit).toEqual([0, null]);
  expect(doubting.output()).toMatch(/unable to (verify|get local issuer)|self.signed/);
  expect(doubting.output()).not.toContain('subscribed to tenant events');
  await proxy.close();
});
