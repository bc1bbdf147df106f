import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createRedis, type TenantRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, until } from '../support/fleet.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { testLog } from '../support/test-log.ts';
import { startTlsProxy, type TlsProxy } from '../support/tls-proxy.ts';

const a = canonicalTenantId(`t${randomBytes(6).toString('hex')}`);
const { host, port } = splitAddress(process.env.REDIS_HOST as string);
const settings = (env: NodeJS.ProcessEnv = {}) =>
  loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false', ...env });

describe('Redis away', () => {
  let proxy: TcpProxy;
  let through: Redis;
  let keys: TenantRedis;

  beforeAll(async () => {
    proxy = await startTcpProxy(host, port);
    through = createRedis(settings({ REDIS_HOST: `127.0.0.1:${proxy.port}` }), testLog().log);
    keys = tenantRedis(through, a);
    await once(through, 'ready');
  });
  afterAll(async () => {
    through.disconnect();
    await proxy.close();
  });

  const away = { code: 'REDIS_UNAVAILABLE', remedy: 'not-now' };

  test('and not answering: a call fails within seconds instead of hanging', async () => {
    proxy.mode = 'swallow';
    await expect(keys.get('key')).rejects.toMatchObject(away);
  }, 5000);

  test('a connection that became a black hole without a word is replaced, and calls work again soon after the network is back', async () => {
    proxy.mode = 'forward';
    await until(() => through.status === 'ready');
    const closed = new Promise((end) => through.once('close', end));
    proxy.mode = 'swallow';
    await expect(keys.get('key')).rejects.toMatchObject(away);
    await closed;
    proxy.mode = 'forward';
    await until(() =>
      keys.set('key', 'value', 60).then(
        () => true,
        () => false,
      ),
    );
    expect(await keys.get('key')).toBe('value');
  }, 30_000);

  test('and refusing connections: calls fail at once; when it is back they work, without a restart', async () => {
    const closed = new Promise((end) => through.once('close', end));
    proxy.mode = 'refuse';
    proxy.cut();
    await closed;
    const began = performance.now();
    const calls = await Promise.allSettled([keys.get('key'), keys.set('key', 'value', 60), keys.delete('key')]);
    for (const call of calls) expect(call).toMatchObject({ reason: away });
    expect(performance.now() - began).toBeLessThan(1000);
    proxy.mode = 'forward';
    await until(() =>
      keys.set('key', 'value', 60).then(
        () => true,
        () => false,
      ),
    );
    expect(await keys.get('key')).toBe('value');
  });

  test('at the start: the process starts all the same, and its calls fail', async () => {
    const early = createRedis(settings({ REDIS_HOST: '127.0.0.1:1' }), testLog().log);
    await expect(tenantRedis(early, a).get('key')).rejects.toMatchObject(away);
    early.disconnect();
  });
});

describe('jobs go on without Redis', () => {
  test.each<[string, (proxy: TcpProxy) => void]>([
    ['that swallows what it is sent', (proxy) => void Object.assign(proxy, { mode: 'swallow' })],
    ['that is gone', gone],
  ])('%s', async (_what, breakIt) => {
    const proxy = await startTcpProxy(host, port);
    const fleet = await startFleet({ overrides: { REDIS_HOST: `127.0.0.1:${proxy.port}` } });
    try {
      const tenant = await fleet.tenant();
      await tenant.done('context.apply', { version: 1, context: simpleContext() });
      breakIt(proxy);
      await loadPairs(tenant, 5);
      expect(await tenant.done('matching.run', { version: 1, context: 'bank' })).toMatchObject({ matched: 5 });
      expect(await tenant.done('export.run', { version: 1, context: 'bank', report: 'MATCHED' })).toMatchObject({
        rows: 5,
      });
    } finally {
      await fleet.close();
      await proxy.close();
    }
  });
  function gone(proxy: TcpProxy): void {
    proxy.mode = 'refuse';
    proxy.cut('reset');
  }
});

describe('REDIS_TLS', () => {
  const trusted = getCACertificates('default');
  const ends: (() => unknown)[] = [];
  afterEach(async () => {
    setDefaultCACertificates(trusted);
    for (const end of ends.splice(0)) await end();
  });

  async function encrypted(options?: Parameters<typeof startTlsProxy>[2]): Promise<TlsProxy> {
    const proxy = await startTlsProxy(host, port, options);
    ends.push(proxy.close);
    return proxy;
  }
  function connect(env: NodeJS.ProcessEnv) {
    const { log, lines } = testLog();
    const client = createRedis(settings(env), log);
    ends.push(() => client.disconnect());
    return { client, lines };
  }

  test('encrypts, towards a server whose certificate is good for its name', async () => {
    const proxy = await encrypted();
    setDefaultCACertificates([...trusted, proxy.ca.pem]);
    const { client } = connect({ REDIS_HOST: `${proxy.host}:${proxy.port}`, REDIS_TLS: 'true' });
    await once(client, 'ready');
    await tenantRedis(client, a).set('key', 'value', 60);
    expect(await tenantRedis(client, a).get('key')).toBe('value');
    expect(proxy).toMatchObject({ handshakes: 1, unencrypted: 0 });
  });

  test('does not speak to a server that nobody vouches for', async () => {
    const proxy = await encrypted();
    const { client, lines } = connect({ REDIS_HOST: `${proxy.host}:${proxy.port}`, REDIS_TLS: 'true' });
    await until(() => lines.some((line) => /unable to verify|self-signed|issuer certificate/.test(line)));
    await expect(tenantRedis(client, a).get('key')).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  });

  test('does not speak to a server with another name’s certificate', async () => {
    const proxy = await encrypted({ names: ['redis.example.com'] });
    setDefaultCACertificates([...trusted, proxy.ca.pem]);
    const { client, lines } = connect({ REDIS_HOST: `${proxy.host}:${proxy.port}`, REDIS_TLS: 'true' });
    await until(() => lines.some((line) => line.includes('does not match certificate')));
    await expect(tenantRedis(client, a).get('key')).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  });

  test('does not go on in the clear where the server has no TLS', async () => {
    const { client, lines } = connect({ REDIS_TLS: 'true' });
    await until(() => lines.some((line) => line.includes('Redis is not reachable')));
    await expect(tenantRedis(client, a).get('key')).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    expect(client.status).not.toBe('ready');
  });
});
