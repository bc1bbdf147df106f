import { ConfigError, loadSettings, type Role } from '@matcher/shared/config/load.ts';
import { type VariableName, variables } from '@matcher/shared/config/variables.ts';
import { describe, expect, test } from 'vitest';

/** A multi-tenant worker's configuration with nothing wrong in it. */
const multiTenant = {
  MULTI_TENANT_ENABLED: 'true',
  MULTI_TENANT_URL: 'https://tenants.example.com',
  MULTI_TENANT_SERVICE_API_KEY: 'key-of-the-service',
  REDIS_HOST: 'redis:6379',
  OBJECT_STORAGE_BUCKET: 'matcher',
};

const singleTenant = {
  POSTGRES_HOST: 'db',
  POSTGRES_USER: 'matcher',
  POSTGRES_PASSWORD: 'p',
  POSTGRES_DB: 'matcher',
  RABBITMQ_HOST: 'broker',
  RABBITMQ_USER: 'matcher',
  RABBITMQ_PASSWORD: 'p',
  REDIS_HOST: 'redis:6379',
  OBJECT_STORAGE_BUCKET: 'matcher',
};

function failure(env: NodeJS.ProcessEnv, role: Role = 'worker'): ConfigError {
  try {
    loadSettings(role, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error('the configuration was accepted');
}

/** Names of the variables that have a problem, sorted. */
function problems(env: NodeJS.ProcessEnv, role: Role = 'worker'): string[] {
  try {
    loadSettings(role, env);
    return [];
  } catch (error) {
    return (error as ConfigError).problems.map(({ variable }) => variable).sort();
  }
}

test('every problem is reported at once, by the variable’s name', () => {
  const error = failure({
    ...multiTenant,
    MULTI_TENANT_URL: undefined,
    LOG_LEVEL: 'loud',
    SERVER_ADDRESS: 'here',
    POSTGRES_MAX_OPEN_CONNS: '0',
    MULTI_TENANT_TIMEOUT: '1.5',
    OBJECT_STORAGE_ENDPOINT: 'ftp://objects',
    OBJECT_STORAGE_ACCESS_KEY_ID: 'one without the other',
    DEFAULT_TENANT_ID: 'urn:uuid:11111111-1111-1111-1111-111111111111',
  });
  expect(error.code).toBe('INVALID_CONFIG');
  const names = [
    'DEFAULT_TENANT_ID',
    'LOG_LEVEL',
    'MULTI_TENANT_TIMEOUT',
    'MULTI_TENANT_URL',
    'OBJECT_STORAGE_ENDPOINT',
    'OBJECT_STORAGE_SECRET_ACCESS_KEY',
    'POSTGRES_MAX_OPEN_CONNS',
    'SERVER_ADDRESS',
  ];
  expect(error.problems.map(({ variable }) => variable).sort()).toEqual(names);
  for (const name of names) expect(error.message).toMatch(new RegExp(`^  ${name} \\w`, 'm'));
});

test('a variable that cannot be read is one problem, not also a missing one', () => {
  expect(problems({ ...multiTenant, MULTI_TENANT_URL: 'nowhere' })).toEqual(['MULTI_TENANT_URL']);
});

test.each([
  ['multi-tenant mode', multiTenant],
  ['single-tenant mode', singleTenant],
])('%s works with what is required and defaults for all the rest', (_mode, env) => {
  expect(problems(env)).toEqual([]);
});

// The tables of the product's documentation: what an existing deployment relies on without having written it down.
test.each<[VariableName, unknown]>([
  ['MULTI_TENANT_ENABLED', false],
  ['MULTI_TENANT_URL', undefined],
  ['MULTI_TENANT_SERVICE_API_KEY', undefined],
  ['MULTI_TENANT_ENVIRONMENT', undefined],
  ['MULTI_TENANT_MAX_TENANT_POOLS', 100],
  ['MULTI_TENANT_IDLE_TIMEOUT_SEC', 300],
  ['MULTI_TENANT_TIMEOUT', 30],
  ['MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD', 5],
  ['MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC', 30],
  ['MULTI_TENANT_CACHE_TTL_SEC', 120],
  ['MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC', 30],
  ['MULTI_TENANT_REDIS_HOST', undefined],
  ['MULTI_TENANT_REDIS_PORT', 6379],
  ['MULTI_TENANT_REDIS_PASSWORD', undefined],
  ['MULTI_TENANT_REDIS_TLS', false],
  ['DEFAULT_TENANT_ID', '11111111-1111-1111-1111-111111111111'],
  ['DEFAULT_TENANT_SLUG', 'default'],
  ['M2M_TARGET_SERVICE', 'fetcher'],
  ['M2M_CREDENTIAL_CACHE_TTL_SEC', 300],
  ['AWS_REGION', undefined],
  ['SERVER_ADDRESS', ':4018'],
  ['POSTGRES_MAX_OPEN_CONNS', 25],
  ['POSTGRES_MAX_IDLE_CONNS', 5],
  ['POSTGRES_CONNECT_TIMEOUT_SEC', 10],
  ['POSTGRES_QUERY_TIMEOUT_SEC', 30],
  ['OBJECT_STORAGE_USE_PATH_STYLE', true],
  ['EXPORT_PRESIGN_EXPIRY_SEC', 3600],
  ['IDEMPOTENCY_SUCCESS_TTL_HOURS', 168],
  ['JOB_SLOTS_PER_TENANT', 0],
  ['JOB_PATIENCE_HOURS', 24],
  ['JOB_RETENTION_DAYS', 30],
  ['MAINTENANCE_INTERVAL_SEC', 900],
])('%s is %s when nothing is set', (name, value) => {
  expect(loadSettings('worker', singleTenant)[name]).toBe(name in singleTenant ? undefined : value);
});

test('TLS towards PostgreSQL is the default, and doing without has to be asked for (no silent sslmode=disable)', () => {
  expect(loadSettings('worker', singleTenant).POSTGRES_SSLMODE).toBe('require');
});

describe('what is required', () => {
  const database = ['POSTGRES_DB', 'POSTGRES_HOST', 'POSTGRES_PASSWORD', 'POSTGRES_USER'];
  const broker = ['RABBITMQ_HOST', 'RABBITMQ_PASSWORD', 'RABBITMQ_USER'];
  const manager = ['MULTI_TENANT_SERVICE_API_KEY', 'MULTI_TENANT_URL'];
  const multi = { MULTI_TENANT_ENABLED: 'true' };

  test.each<[Role, string, NodeJS.ProcessEnv, string[]]>([
    ['worker', 'multi-tenant', multi, [...manager, 'OBJECT_STORAGE_BUCKET', 'REDIS_HOST']],
    ['worker', 'single-tenant', {}, [...database, ...broker, 'OBJECT_STORAGE_BUCKET', 'REDIS_HOST']],
    ['client', 'multi-tenant', multi, [...manager, 'OBJECT_STORAGE_BUCKET']],
    ['client', 'single-tenant', {}, [...database, ...broker, 'OBJECT_STORAGE_BUCKET']],
    ['publisher', 'multi-tenant', multi, manager],
    ['publisher', 'single-tenant', {}, [...database, ...broker]],
    [
      'tenant-manager',
      'any',
      {},
      [...database, ...broker, 'MULTI_TENANT_ENVIRONMENT', 'MULTI_TENANT_SERVICE_API_KEY', 'RABBITMQ_MANAGEMENT_URL'],
    ],
  ])('of a %s in %s mode', (role, _mode, env, names) => {
    expect(problems(env, role)).toEqual(names.toSorted());
  });

  test('the deployment’s label is nobody’s to demand: existing deployments may run without one', () => {
    expect(problems({ ...multiTenant, MULTI_TENANT_REDIS_HOST: 'redis' })).toEqual([]);
  });

  test('switching multi-tenant mode off is enough: what only it uses is not asked for', () => {
    expect(problems({ ...singleTenant, MULTI_TENANT_REDIS_HOST: 'redis' })).toEqual([]);
  });
});

describe('a Tenant Manager by plain http', () => {
  const at = (url: string, more: NodeJS.ProcessEnv = {}) =>
    problems({ ...multiTenant, MULTI_TENANT_URL: url, ...more });

  test.each(['http://localhost:4100', 'http://127.0.0.1:4100', 'http://127.8.0.1', 'http://[::1]:4100'])(
    'is accepted on this machine: %s',
    (url) => expect(at(url)).toEqual([]),
  );

  test.each([
    'http://tenants.example.com',
    'HTTP://tenants.example.com',
    'http://10.0.0.7:4100',
    'http://127.0.0.1.example.com',
    'http://localhost.example.com',
    // A resolver may ask the network for that one.
    'http://localhost.:4100',
    'http://0.0.0.0:4100',
    'http://[::2]',
    'http://[::ffff:10.0.0.7]:4100',
  ])('is refused elsewhere: %s', (url) => expect(at(url)).toEqual(['MULTI_TENANT_URL']));

  test('is accepted elsewhere when that was asked for', () => {
    expect(at('http://tenants.internal', { MULTI_TENANT_ALLOW_INSECURE_HTTP: 'true' })).toEqual([]);
  });
});

test('an empty or blank variable counts as absent', () => {
  const settings = loadSettings('worker', { ...singleTenant, POSTGRES_PORT: '', LOG_LEVEL: '  ', REDIS_PASSWORD: '' });
  expect(settings).toMatchObject({ POSTGRES_PORT: 5432, LOG_LEVEL: 'info', REDIS_PASSWORD: undefined });
  expect(problems({ ...singleTenant, POSTGRES_PASSWORD: '' })).toEqual(['POSTGRES_PASSWORD']);
});

test.each([
  ['MULTI_TENANT_ENABLED', 'yes'],
  ['POSTGRES_PORT', '65536'],
  ['POSTGRES_PORT', '0x50'],
  ['POSTGRES_PORT', '5432 '.repeat(2)],
  ['POSTGRES_SSLMODE', 'prefer'],
  ['REDIS_HOST', 'redis'],
  ['REDIS_HOST', 'redis:70000'],
  ['REDIS_HOST', '[127.0.0.1]:6379'],
  ['RABBITMQ_MANAGEMENT_URL', 'amqp://broker'],
])('%s=%s is refused', (name, value) => {
  expect(problems({ ...singleTenant, [name]: value })).toEqual([name]);
});

describe('a secret never stands in the text of a problem', () => {
  const secret = 's3cr3t-value';

  test.each(Object.entries(variables).flatMap(([name, { secret }]) => (secret ? [name] : [])))('as %s', (name) => {
    // With a line break no header, password or key is right.
    expect(failure({ [name]: `${secret}\n${secret}` }).message).not.toContain(secret);
  });

  test.each([
    ['MULTI_TENANT_URL', `https://matcher:${secret}@tenants.example.com`],
    ['OBJECT_STORAGE_ENDPOINT', `https://matcher:${secret}@objects.example.com`],
    ['REDIS_HOST', `redis://:${secret}@redis:6379`],
    ['SERVER_ADDRESS', `http://matcher:${secret}@0.0.0.0:4018`],
  ])('as part of %s, where it does not belong', (name, value) => {
    const { problems, message } = failure({ ...multiTenant, [name]: value });
    expect(problems.map(({ variable }) => variable)).toEqual([name]);
    expect(message).not.toContain(secret);
  });
});

test('an API key that no HTTP header can carry is refused before the first request shows it in an error', () => {
  expect(problems({ ...multiTenant, MULTI_TENANT_SERVICE_API_KEY: 'two\nlines' })).toEqual([
    'MULTI_TENANT_SERVICE_API_KEY',
  ]);
  expect(problems({ ...multiTenant, MULTI_TENANT_SERVICE_API_KEY: 'schlüßel€' })).toEqual([
    'MULTI_TENANT_SERVICE_API_KEY',
  ]);
});

describe('numbers by name', () => {
  const read = (name: 'JOB_DEADLINES' | 'JOB_TENANT_WEIGHTS', text: string) =>
    Object.fromEntries(loadSettings('worker', { ...singleTenant, [name]: text })[name]);
  const usual = {
    'context.apply': 300,
    'ingestion.run': 3600,
    'matching.run': 7200,
    'matching.confirm': 300,
    'matching.reject': 300,
    'matching.revoke': 300,
    'matching.manual': 300,
    'export.run': 3600,
  };

  test('have defaults, and what is not named keeps its own', () => {
    const settings = loadSettings('worker', singleTenant);
    expect(Object.fromEntries(settings.JOB_DEADLINES)).toEqual(usual);
    expect(settings.JOB_TENANT_WEIGHTS.size).toBe(0);
    expect(read('JOB_DEADLINES', 'matching.run=60 , export.run = 5,')).toEqual({
      ...usual,
      'matching.run': 60,
      'export.run': 5,
    });
  });

  test('take a tenant by its slug or any spelling of its id', () => {
    expect(read('JOB_TENANT_WEIGHTS', 'acme=3,18480464-59AB-48ea-b0db-a5ca252474af=2')).toEqual({
      acme: 3,
      '1848046459ab48eab0dba5ca252474af': 2,
    });
  });

  test('are refused with everything that is wrong with them at once', () => {
    const { problems } = failure({
      ...singleTenant,
      JOB_DEADLINES: 'matching.rum=60,export.run=0,ingestion.run,context.apply=1.5,matching.run=1,matching.run=2',
      JOB_TENANT_WEIGHTS: 'a b=1,=2,acme=-1',
    });
    expect(problems).toEqual([
      {
        variable: 'JOB_TENANT_WEIGHTS',
        problem:
          'cannot be read: "a b" is not a tenant’s slug or id; "" is not a tenant’s slug or id; "acme=-1" is not name=number',
      },
      {
        variable: 'JOB_DEADLINES',
        problem:
          'cannot be read: "matching.rum" is not one of context.apply, ingestion.run, matching.run, ' +
          'matching.confirm, matching.reject, matching.revoke, matching.manual, export.run; ' +
          '"export.run=0" is not from 1 to 2147483; "ingestion.run" is not name=number; "context.apply=1.5" is not name=number; "matching.run" is there twice',
      },
    ]);
  });
});
