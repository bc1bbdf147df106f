import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import { type PostgresTarget, type TenantConfig, tenantConfigFrom } from '@matcher/shared/tenancy/tenant-config.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { connectionsAnswer } from '@matcher/shared/tenancy/wire.ts';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';
import { testLog } from '../support/test-log.ts';
import { startTlsProxy, type TlsProxy } from '../support/tls-proxy.ts';

let databases: TestDatabases;
let tenant: TenantConfig;
/** The server as it should be; one whose certificate is another host's; and one that wants to see a certificate. */
let server: TlsProxy;
let misnamed: TlsProxy;
let demanding: TlsProxy;

beforeAll(async () => {
  databases = await openTestDatabases();
  tenant = await databases.create();
  const { host, port } = tenant.postgres;
  server = await startTlsProxy(host, port, { protocol: 'postgres' });
  misnamed = await startTlsProxy(host, port, { protocol: 'postgres', names: ['db.example.com'] });
  demanding = await startTlsProxy(host, port, { protocol: 'postgres', demandClientCertificate: true });
});
afterAll(async () => {
  for (const proxy of [server, misnamed, demanding]) await proxy?.close();
  await databases?.close();
});

type Encryption = Partial<Pick<PostgresTarget, 'sslmode' | 'sslrootcert' | 'sslcert' | 'sslkey'>>;

const at = (proxy: TlsProxy, encryption: Encryption): PostgresTarget => ({
  ...tenant.postgres,
  host: proxy.host,
  port: proxy.port,
  ...encryption,
});

/** Connects as a tenant's pool does, and asks something. */
async function connect(target: PostgresTarget) {
  const client = new Client(connectionOptions(target, databases.settings, 'test'));
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query('SELECT 1 AS one')).rows;
  } finally {
    await client.end();
  }
}

async function expectEncrypted(proxy: TlsProxy, encryption: Encryption) {
  const before = proxy.handshakes;
  expect(await connect(at(proxy, encryption))).toEqual([{ one: 1 }]);
  expect(proxy.handshakes).toBe(before + 1);
}

const unknownAuthority = { code: 'SELF_SIGNED_CERT_IN_CHAIN' };
const otherHost = { code: 'ERR_TLS_CERT_ALTNAME_INVALID' };

describe('require', () => {
  test('is encrypted, whoever answers', async () => {
    await expectEncrypted(server, { sslmode: 'require' });
    await expectEncrypted(misnamed, { sslmode: 'require' });
  });

  test('with an authority’s certificate is verify-ca, as with libpq, instead of ignoring it', async () => {
    await expectEncrypted(server, { sslmode: 'require', sslrootcert: server.ca.pem });
    await expectEncrypted(misnamed, { sslmode: 'require', sslrootcert: misnamed.ca.pem });
    await expect(connect(at(server, { sslmode: 'require', sslrootcert: misnamed.ca.pem }))).rejects.toThrow();
  });

  test('never becomes unencrypted because the server can’t do better', async () => {
    await expect(connect({ ...tenant.postgres, sslmode: 'require' })).rejects.toThrow('does not support SSL');
  });

  test('is what a configuration without an sslmode means', async () => {
    const { host, port, user: username, password, database } = at(server, {});
    const rabbitmq = { host: 'broker', port: 5672, vhost: 'v', username: 'u', password: 'p' };
    const answer = connectionsAnswer.parse({
      id: tenant.tenantId,
      tenantSlug: 'acme',
      databases: { matcher: { postgresql: { host, port, username, password, database } } },
      rabbitmq: { matcher: rabbitmq },
    });
    const settings = { ...databases.settings, POSTGRES_SSLMODE: 'require' };
    const before = server.handshakes;
    await connect(tenantConfigFrom(answer, tenant.tenantId, settings).postgres);
    expect(server.handshakes).toBe(before + 1);
    expect(server.unencrypted).toBe(0);
  });
});

describe('verify-ca', () => {
  test('takes a server of the authority, whatever its name, from a file as from a text', async () => {
    await expectEncrypted(server, { sslmode: 'verify-ca', sslrootcert: server.ca.file });
    await expectEncrypted(misnamed, { sslmode: 'verify-ca', sslrootcert: misnamed.ca.pem });
  });

  test('refuses a server of another authority', async () => {
    await expect(connect(at(server, { sslmode: 'verify-ca', sslrootcert: misnamed.ca.file }))).rejects.toThrow();
    await expect(connect(at(server, { sslmode: 'verify-ca' }))).rejects.toMatchObject(unknownAuthority);
  });
});

describe('verify-full', () => {
  test('takes the server that it names, by name as by address', async () => {
    await expectEncrypted(server, { sslmode: 'verify-full', sslrootcert: server.ca.file });
    const byAddress = { ...at(server, { sslmode: 'verify-full', sslrootcert: server.ca.pem }), host: '127.0.0.1' };
    expect(await connect(byAddress)).toEqual([{ one: 1 }]);
  });

  test('refuses another host of the same authority', async () => {
    const target = at(misnamed, { sslmode: 'verify-full', sslrootcert: misnamed.ca.pem });
    await expect(connect(target)).rejects.toMatchObject(otherHost);
    await expect(connect({ ...target, host: '127.0.0.1' })).rejects.toMatchObject(otherHost);
  });

  test('refuses a server of another authority', async () => {
    await expect(connect(at(server, { sslmode: 'verify-full', sslrootcert: misnamed.ca.pem }))).rejects.toThrow();
    await expect(connect(at(server, { sslmode: 'verify-full' }))).rejects.toMatchObject(unknownAuthority);
  });
});

describe('a client’s certificate', () => {
  test.each(['pem', 'file'] as const)('is shown to a server that asks for it (%s)', async (form) => {
    const { clientCert, clientKey, ca } = demanding;
    await expectEncrypted(demanding, {
      sslmode: 'verify-full',
      sslrootcert: ca[form],
      sslcert: clientCert[form],
      sslkey: clientKey[form],
    });
    expect(demanding.clients.at(-1)).toBe('test client');
  });

  test('that is missing, or another authority’s, is refused', async () => {
    const before = demanding.handshakes;
    await expect(connect(at(demanding, { sslmode: 'require' }))).rejects.toThrow();
    const foreign = { sslcert: server.clientCert.pem, sslkey: server.clientKey.pem };
    await expect(connect(at(demanding, { sslmode: 'require', ...foreign }))).rejects.toThrow();
    expect(demanding.handshakes).toBe(before);
  });
});

describe('a certificate that can’t be read', () => {
  test.each(['sslrootcert', 'sslcert', 'sslkey'] as const)('in %s is named, without its content', (field) => {
    const secret = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC';
    let thrown: unknown;
    try {
      connectionOptions(at(server, { sslmode: 'verify-full', [field]: secret }), databases.settings, 'test');
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: 'CERTIFICATE_UNREADABLE',
      remedy: 'not-now',
      message: expect.stringContaining(field),
    });
    expect(JSON.stringify([thrown, String(thrown), (thrown as Error).cause ?? null])).not.toContain(secret);
  });

  test('because the file holds something else is said so', () => {
    const target = at(server, { sslmode: 'verify-full', sslrootcert: '/etc/passwd' });
    expect(() => connectionOptions(target, databases.settings, 'test')).toThrow(/no PEM text/);
  });

  test('puts the tenant’s jobs off and is tried again, instead of ending the process', async () => {
    const refused = [
      [at(server, { sslmode: 'verify-full', sslrootcert: '/nowhere/ca.pem' }), 'CERTIFICATE_UNREADABLE'],
      [at(server, { sslmode: 'verify-full', sslrootcert: misnamed.ca.pem }), 'DATABASE_UNAVAILABLE'],
      [at(misnamed, { sslmode: 'verify-full', sslrootcert: misnamed.ca.pem }), 'DATABASE_UNAVAILABLE'],
      [at(demanding, { sslmode: 'require' }), 'DATABASE_UNAVAILABLE'],
      [at(server, { sslmode: 'disable' }), 'DATABASE_UNAVAILABLE'],
    ] as const;
    let postgres: PostgresTarget;
    const config = async () => ({ ...tenant, postgres });
    const source = { config, refresh: config, forget() {} } as Partial<TenantSource> as TenantSource;
    const pools = new TenantPools(source, databases.settings, testLog().log);
    for (const [target, code] of refused) {
      postgres = target;
      await expect(pools.lease(tenant.tenantId)).rejects.toMatchObject({ code, remedy: 'not-now' });
    }
    postgres = at(server, { sslmode: 'verify-full', sslrootcert: server.ca.pem });
    (await pools.lease(tenant.tenantId)).release();
    await pools.closeAll();
  });
});
