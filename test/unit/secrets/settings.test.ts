import { type ConfigError, loadSettings, type Role } from '@matcher/shared/config/load.ts';
import type { VariableName } from '@matcher/shared/config/variables.ts';
import { describe, expect, test } from 'vitest';

const common = { REDIS_HOST: 'redis:6379', OBJECT_STORAGE_BUCKET: 'matcher' };
const multiTenant = {
  ...common,
  MULTI_TENANT_ENABLED: 'true',
  MULTI_TENANT_URL: 'https://tenants.example.com',
  MULTI_TENANT_SERVICE_API_KEY: 'key',
};
const singleTenant = {
  ...common,
  ...{ POSTGRES_HOST: 'db', POSTGRES_USER: 'matcher', POSTGRES_PASSWORD: 'p', POSTGRES_DB: 'matcher' },
  ...{ RABBITMQ_HOST: 'broker', RABBITMQ_USER: 'matcher', RABBITMQ_PASSWORD: 'p' },
};
const withFetcher = {
  ...multiTenant,
  FETCHER_ENABLED: 'true',
  FETCHER_URL: 'https://fetcher.example.com',
  PLUGIN_AUTH_ADDRESS: 'https://auth.example.com',
  AWS_REGION: 'eu-central-1',
};

function problems(env: NodeJS.ProcessEnv, role: Role = 'worker'): string[] {
  try {
    loadSettings(role, env);
    return [];
  } catch (error) {
    return (error as ConfigError).problems.map(({ variable }) => variable).sort();
  }
}

test.each<[VariableName, unknown]>([
  ['FETCHER_ENABLED', false],
  ['FETCHER_URL', undefined],
  ['PLUGIN_AUTH_ADDRESS', undefined],
  ['M2M_TARGET_SERVICE', 'fetcher'],
  ['M2M_CREDENTIAL_CACHE_TTL_SEC', 300],
  ['AWS_REGION', undefined],
])('%s is %s when nothing is set', (name, value) => expect(loadSettings('worker', multiTenant)[name]).toBe(value));

describe('what the Fetcher requires', () => {
  const enabled = { FETCHER_ENABLED: 'true' };

  test.each<[string, NodeJS.ProcessEnv, Role, string[]]>([
    ['nothing while it is off', multiTenant, 'worker', []],
    [
      'all it needs in multi-tenant mode',
      { ...multiTenant, ...enabled },
      'worker',
      ['AWS_REGION', 'FETCHER_URL', 'PLUGIN_AUTH_ADDRESS'],
    ],
    ['its address in single-tenant mode', { ...singleTenant, ...enabled }, 'worker', ['FETCHER_URL']],
    ['nothing of who does not call it', { ...multiTenant, ...enabled }, 'publisher', []],
    ['no more than that', withFetcher, 'worker', []],
    [
      'all at once of a command that is about nothing else',
      { MULTI_TENANT_ENABLED: 'true' },
      'fetcher',
      [
        'AWS_REGION',
        'FETCHER_ENABLED',
        'FETCHER_URL',
        'MULTI_TENANT_SERVICE_API_KEY',
        'PLUGIN_AUTH_ADDRESS',
        'REDIS_HOST',
      ],
    ],
    ['that command’s only where it is needed', withFetcher, 'fetcher', []],
    ['neither cache nor credentials in single-tenant mode', {}, 'fetcher', ['FETCHER_ENABLED', 'FETCHER_URL']],
  ])('%s', (_what, env, role, names) => expect(problems(env, role)).toEqual(names));
});

describe('plain http', () => {
  const variables = ['FETCHER_URL', 'PLUGIN_AUTH_ADDRESS', 'AWS_ENDPOINT_URL_SECRETS_MANAGER'];

  test.each(variables)('of %s is refused elsewhere than on this machine, unless it was asked for', (name) => {
    expect(problems({ ...withFetcher, [name]: 'http://10.0.0.7:4000' })).toEqual([name]);
    expect(problems({ ...withFetcher, [name]: 'http://127.0.0.1:4000' })).toEqual([]);
    const allowed = { MULTI_TENANT_ALLOW_INSECURE_HTTP: 'true' };
    expect(problems({ ...withFetcher, ...allowed, [name]: 'http://10.0.0.7:4000' })).toEqual([]);
    // A deployment that has it in its environment and does not use it still starts.
    expect(problems({ ...withFetcher, FETCHER_ENABLED: 'false', [name]: 'http://10.0.0.7:4000' })).toEqual([]);
  });
});

test.each(['M2M_TARGET_SERVICE', 'MULTI_TENANT_ENVIRONMENT'])(
  '%s that leads out of the secrets’ path is refused at start',
  (name) => {
    expect(problems({ ...withFetcher, [name]: '../production' })).toEqual([name]);
  },
);
