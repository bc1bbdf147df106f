import { loadSettings } from '@matcher/shared/config/load.ts';
import { tenantConfigFrom } from '@matcher/shared/tenancy/tenant-config.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { activeTenantsAnswer, connectionsAnswer, lifecycleEvent, refusal } from '@matcher/shared/tenancy/wire.ts';
import { describe, expect, test } from 'vitest';

const tenantId = canonicalTenantId('acme');
const settings = loadSettings('publisher', {
  MULTI_TENANT_ENABLED: 'true',
  MULTI_TENANT_URL: 'https://tenants.example.com',
  MULTI_TENANT_SERVICE_API_KEY: 'k',
});

const postgresql = (host: string) => ({ host, port: 5432, database: 'd', username: 'u', password: 'p' });
const rabbitmq = (host: string) => ({ host, port: 5672, vhost: 'v', username: 'u', password: 'p' });
const answer = {
  id: 'acme',
  tenantSlug: 'acme',
  databases: { matcher: { postgresql: postgresql('db') } },
  rabbitmq: { matcher: rabbitmq('broker') },
};

const read = (body: object) => tenantConfigFrom(connectionsAnswer.parse({ ...answer, ...body }), tenantId, settings);

test('a configuration has the tenant’s database, vhost and limits', () => {
  expect(read({})).toEqual({
    tenantId: 'acme',
    slug: 'acme',
    // The way to a database that came over the network is encrypted unless it says otherwise.
    postgres: { host: 'db', port: 5432, database: 'd', user: 'u', password: 'p', sslmode: 'require' },
    rabbitmq: { host: 'broker', port: 5672, vhost: 'v', user: 'u', password: 'p', tls: false },
    limits: { maxOpenConns: 25, maxIdleConns: 5 },
  });
});

describe('the module', () => {
  test('named like the service is taken', () => {
    const databases = { alpha: { postgresql: postgresql('a') }, matcher: { postgresql: postgresql('m') } };
    const brokers = { alpha: rabbitmq('a'), matcher: rabbitmq('m') };
    expect(read({ databases, rabbitmq: brokers })).toMatchObject({ postgres: { host: 'm' }, rabbitmq: { host: 'm' } });
  });

  test('else the first in sorted order, however they come', () => {
    const databases = { onboarding: { postgresql: postgresql('o') }, audit: { postgresql: postgresql('a') } };
    const brokers = { onboarding: rabbitmq('o'), audit: rabbitmq('a') };
    expect(read({ databases, rabbitmq: brokers })).toMatchObject({ postgres: { host: 'a' }, rabbitmq: { host: 'a' } });
  });
});

describe('the broker', () => {
  test('of an older server stands under messaging', () => {
    const old = { rabbitmq: undefined, messaging: { rabbitmq: { ...rabbitmq('old'), tls: true } } };
    expect(read(old).rabbitmq).toMatchObject({ host: 'old', tls: true });
    expect(read({ ...old, rabbitmq: {} }).rabbitmq.host).toBe('old');
    expect(read({ ...old, rabbitmq: null }).rabbitmq.host).toBe('old');
  });

  test('of a newer server stands under rabbitmq, by module, and goes before the old place', () => {
    expect(read({ messaging: { rabbitmq: rabbitmq('old') } }).rabbitmq.host).toBe('broker');
  });
});

test('limits are the module’s before the tenant’s before the process’s; zero means not set', () => {
  const ofModule = {
    matcher: { postgresql: postgresql('db'), connectionSettings: { maxOpenConns: 7, maxIdleConns: 0 } },
  };
  const ofTenant = { maxOpenConns: 9, maxIdleConns: 3 };
  expect(read({ databases: ofModule, connectionSettings: ofTenant }).limits).toEqual({
    maxOpenConns: 7,
    maxIdleConns: 3,
  });
  expect(read({ connectionSettings: ofTenant }).limits).toEqual({ maxOpenConns: 9, maxIdleConns: 3 });
});

test('empty texts and unknown fields, as servers written in other languages send them, mean nothing', () => {
  const database = { ...postgresql('db'), sslmode: '', schema: '', sslcert: '', region: 'eu' };
  const config = read({ databases: { matcher: { postgresql: database, postgresqlReplica: null } }, future: { a: 1 } });
  expect(config.postgres).toEqual(read({}).postgres);
});

test.each<[string, object]>([
  ['no database', { databases: {} }],
  ['no database at all', { databases: undefined }],
  ['no vhost', { rabbitmq: {} }],
])('a tenant with %s cannot be served now', (_what, body) => {
  expect(() => read(body)).toThrow(expect.objectContaining({ code: 'SERVICE_NOT_CONFIGURED', remedy: 'not-now' }));
});

describe('statementTimeout', () => {
  const withTimeouts = (ofModule: unknown, ofTenant: unknown) =>
    read({
      databases: { matcher: { postgresql: postgresql('db'), connectionSettings: { statementTimeout: ofModule } } },
      connectionSettings: { statementTimeout: ofTenant },
    }).limits.statementTimeoutMs;

  test('is the module’s before the tenant’s', () => {
    expect(withTimeouts('30s', '1s')).toBe(30_000);
    expect(withTimeouts(undefined, '1s')).toBe(1000);
    expect(withTimeouts('', 1000)).toBe(1000);
    expect(withTimeouts('0', '1s')).toBe(0);
    expect(withTimeouts(undefined, undefined)).toBeUndefined();
  });

  test('that cannot be read is named, instead of being left out', () => {
    expect(() => withTimeouts(undefined, 'soon')).toThrow(
      expect.objectContaining({
        code: 'SERVICE_NOT_CONFIGURED',
        remedy: 'not-now',
        message: expect.stringContaining('connectionSettings.statementTimeout'),
      }),
    );
  });
});

describe('the replica', () => {
  const withReplica = (postgresqlReplica: unknown, postgres: object = {}) =>
    read({ databases: { matcher: { postgresql: { ...postgresql('db'), ...postgres }, postgresqlReplica } } });

  test('has an address of its own; what it does not say is the primary’s', () => {
    const { replica } = withReplica({ host: 'copy', port: 5433, sslmode: 'verify-full' }, { schema: 'acme' });
    expect(replica).toEqual({
      host: 'copy',
      port: 5433,
      database: 'd',
      user: 'u',
      password: 'p',
      sslmode: 'verify-full',
      schema: 'acme',
    });
  });

  test('that is the primary, or nothing at all, is none', () => {
    expect(withReplica(postgresql('db')).replica).toBeUndefined();
    expect(withReplica({ host: '', port: 0, database: '', username: '', password: '' }).replica).toBeUndefined();
    expect(withReplica(null).replica).toBeUndefined();
  });

  test.each([[{ host: 'copy' }], [{ host: 'copy', port: 'x', sslmode: 'nonsense' }], ['nonsense'], [[]]])(
    '%j does not keep the tenant from its primary',
    (replica) => {
      expect(withReplica(replica).postgres).toEqual(read({}).postgres);
    },
  );
});

describe('encryption', () => {
  const postgres = (more: object) => read({ databases: { matcher: { postgresql: { ...postgresql('db'), ...more } } } });
  const broker = (more: object) => read({ rabbitmq: { matcher: { ...rabbitmq('broker'), ...more } } }).rabbitmq;

  test('certificates are passed on', () => {
    const certificates = { sslrootcert: '/ca', sslcert: '/cert', sslkey: '/key' };
    expect(postgres(certificates).postgres).toMatchObject({ sslmode: 'require', ...certificates });
  });

  test.each([
    [{ sslmode: 'prefer' }, 'sslmode "prefer"'],
    [{ sslmode: 'disable', sslrootcert: '/ca' }, 'sslmode is disable'],
    [{ sslcert: '/cert' }, 'no sslkey'],
    [{ sslkey: '/key' }, 'no sslcert'],
  ])('%j is refused instead of being less than it says', (more, message) => {
    expect(() => postgres(more)).toThrow(
      expect.objectContaining({ code: 'SERVICE_NOT_CONFIGURED', message: expect.stringContaining(message) }),
    );
  });

  test('a broker with an authority is spoken to encrypted, also when nobody says tls', () => {
    expect(broker({ tlsCAFile: '/ca' })).toMatchObject({ tls: true, tlsCAFile: '/ca' });
    expect(broker({ tls: true })).not.toHaveProperty('tlsCAFile');
    expect(() => broker({ tls: false, tlsCAFile: '/ca' })).toThrow(
      expect.objectContaining({ code: 'SERVICE_NOT_CONFIGURED' }),
    );
  });
});

test('schema isolation without a schema is refused, instead of putting all tenants into one', () => {
  expect(() => read({ isolationMode: 'schema' })).toThrow(
    expect.objectContaining({ code: 'SERVICE_NOT_CONFIGURED', message: expect.stringContaining('no schema') }),
  );
  const databases = { matcher: { postgresql: { ...postgresql('db'), schema: 'acme' } } };
  expect(read({ isolationMode: 'schema', databases }).postgres.schema).toBe('acme');
});

describe('characters that nobody sees, and that steer terminals or turn what follows them', () => {
  const turned = 'acme\u202eslug\u001b[2J\u2066';
  test('are replaced in what is only shown', () => {
    expect(read({ tenantSlug: turned }).slug).toBe('acme\ufffdslug\ufffd[2J\ufffd');
    const shown = connectionsAnswer.parse({ ...answer, tenantName: turned, status: 'a\nb', service: 'x\ud800' });
    expect(shown).toMatchObject({
      tenantName: read({ tenantSlug: turned }).slug,
      status: 'a\ufffdb',
      service: 'x\ufffd',
    });
    expect(activeTenantsAnswer.parse([{ id: 'acme', name: 'A\u2028\u200f', status: '\u009b' }])).toEqual([
      { id: 'acme', name: 'A\ufffd\ufffd', status: '\ufffd' },
    ]);
    expect(refusal.parse({ code: 'X\r\nY', error: 'no\u061cpe', status: 'suspended\u0000' })).toEqual({
      code: 'X\ufffd\ufffdY',
      error: 'no\ufffdpe',
      status: 'suspended\ufffd',
    });
  });

  test.each(['host', 'database', 'username', 'schema'])(
    'are refused in the database’s %s, and not repeated',
    (field) => {
      const databases = { matcher: { postgresql: { ...postgresql('db'), [field]: turned } } };
      expect(() => read({ databases })).toThrow(
        expect.objectContaining({
          code: 'SERVICE_NOT_CONFIGURED',
          message: expect.stringMatching(new RegExp(`^[ -~]* no valid postgresql\\.${field}$`)),
        }),
      );
    },
  );

  test.each(['host', 'vhost', 'username'])('are refused in the broker’s %s', (field) => {
    expect(() => read({ rabbitmq: { matcher: { ...rabbitmq('broker'), [field]: turned } } })).toThrow(
      expect.objectContaining({ message: expect.stringContaining(`no valid ${field}`) }),
    );
  });

  test('are a password’s own business, and letters of any language anybody’s', () => {
    const databases = { matcher: { postgresql: { ...postgresql('db'), password: turned, database: 'données-数据' } } };
    expect(read({ databases, tenantSlug: 'עסק – 事業' })).toMatchObject({
      slug: 'עסק – 事業',
      postgres: { password: turned, database: 'données-数据' },
    });
  });

  test('make an event’s type none', () => {
    expect(lifecycleEvent.safeParse({ event_type: 'tenant.created\u202e', tenant_id: 'acme' }).success).toBe(false);
  });
});
