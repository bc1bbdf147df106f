import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import type { MatcherError } from '@matcher/shared/errors.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { createFetcherClient, type FetcherClient } from '@matcher/shared/secrets/fetcher-client.ts';
import { createM2MCredentials, type M2MCredentialSource } from '@matcher/shared/secrets/m2m-credentials.ts';
import { m2mSecretName } from '@matcher/shared/secrets/m2m-path.ts';
import { createM2MTokens, type M2MTokenSource } from '@matcher/shared/secrets/m2m-token.ts';
import { createSecretReader, type SecretReader } from '@matcher/shared/secrets/secrets-manager.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Redis } from 'ioredis';
import { expect } from 'vitest';
import { type FetcherStandIn, startFetcher } from './fetcher.ts';
import { type SecretsManagerStandIn, startSecretsManager } from './secrets-manager.ts';
import { testLog } from './test-log.ts';

/** Machine-to-machine authentication with all that it needs: stand-ins for AWS, the authorization service and the Fetcher, and a real Redis. */
export interface M2MFixture {
  readonly aws: SecretsManagerStandIn;
  readonly fetcher: FetcherStandIn;
  readonly redis: Redis;
  readonly log: ReturnType<typeof testLog>;
  /** Of the processes that start from now on. */
  settings: Settings;
  /** The clock of the processes and of the tokens, in milliseconds. */
  now: number;
  /** What must not stand in any log line, error or Redis value. */
  readonly secretTexts: string[];
  /** The environment of a process that calls the Fetcher. */
  environment(overrides?: NodeJS.ProcessEnv): NodeJS.ProcessEnv;
  settingsWith(overrides: NodeJS.ProcessEnv): Settings;
  connectRedis(): Promise<Redis>;
  reader(limits?: Parameters<typeof createSecretReader>[1]): SecretReader;
  /** What one process has. Several share Redis and Secrets Manager. */
  startProcess(parts?: { redis?: Redis; settings?: Settings; secrets?: SecretReader }): {
    credentials: M2MCredentialSource;
    tokens: M2MTokenSource;
    client: FetcherClient;
  };
  /** Gives the tenant a client with a new secret, in Secrets Manager and at the authorization service. */
  rotate(tenantId: TenantId, more?: object): string;
  /** The error, which shows no secret and no path. */
  failure(promise: Promise<unknown>): Promise<MatcherError>;
  /** Stops everything, and checks that no log line shows a secret. */
  close(): Promise<void>;
}

export const nameOf = (tenantId: TenantId): string =>
  m2mSecretName({ environment: 'test', tenantOrgId: tenantId, targetService: 'fetcher' });
export const keyOf = (tenantId: TenantId): string => `tenant:${tenantId}:m2m:fetcher:${tenantId}:credentials`;

export async function startM2M(): Promise<M2MFixture> {
  const [aws, fetcher] = await Promise.all([startSecretsManager(), startFetcher()]);
  const log = testLog();
  const ends: (() => unknown)[] = [aws.close, fetcher.close];
  const tenants = new Set<TenantId>();
  const secretTexts: string[] = [];
  Object.assign(process.env, aws.credentials);
  fetcher.now = () => fixture.now;

  const environment = (overrides: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
    ...process.env,
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: 'https://tenants.example.com',
    MULTI_TENANT_SERVICE_API_KEY: randomUUID(),
    MULTI_TENANT_ENVIRONMENT: 'test',
    FETCHER_ENABLED: 'true',
    FETCHER_URL: fetcher.address,
    PLUGIN_AUTH_ADDRESS: fetcher.address,
    AWS_REGION: aws.region,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: aws.address,
    ...overrides,
  });
  const settingsWith = (overrides: NodeJS.ProcessEnv) => loadSettings('worker', environment(overrides));
  const settings = settingsWith({});

  async function connectRedis(): Promise<Redis> {
    const client = createRedis(settings, log.log);
    ends.push(() => client.disconnect());
    await once(client, 'ready');
    return client;
  }
  const redis = await connectRedis();

  const fixture: M2MFixture = {
    aws,
    fetcher,
    redis,
    log,
    settings,
    now: 0,
    secretTexts,
    environment,
    settingsWith,
    connectRedis,
    reader(limits) {
      const secrets = createSecretReader(fixture.settings, limits);
      ends.push(secrets.close);
      return secrets;
    },
    startProcess(parts = {}) {
      const now = () => fixture.now;
      const secrets = parts.secrets ?? fixture.reader();
      const common = { settings: fixture.settings, redis, log: log.log, now, ...parts, secrets };
      const credentials = createM2MCredentials(common);
      const tokens = createM2MTokens({ settings: common.settings, credentials, now });
      return { credentials, tokens, client: createFetcherClient({ settings: common.settings, tokens, log: log.log }) };
    },
    rotate(tenantId, more = {}) {
      tenants.add(tenantId);
      const clientSecret = `secret-${randomBytes(12).toString('hex')}`;
      secretTexts.push(clientSecret, nameOf(tenantId));
      aws.put(nameOf(tenantId), JSON.stringify({ clientId: `client-of-${tenantId}`, clientSecret, ...more }));
      fetcher.allow(`client-of-${tenantId}`, clientSecret);
      return clientSecret;
    },
    async failure(promise) {
      const error = await promise.then(
        () => new Error('it succeeded') as MatcherError,
        (error: MatcherError) => error,
      );
      for (const text of secretTexts) expect(`${error.message} ${error.hint} ${error.stack}`).not.toContain(text);
      expect(error.cause).toBeUndefined();
      return error;
    },
    async close() {
      await Promise.all([...tenants].map((tenantId) => redis.del(keyOf(tenantId)).catch(() => {})));
      for (const end of ends) await end();
      const written = log.lines.join('');
      for (const text of [...secretTexts, ...fetcher.tokens]) expect(written).not.toContain(text);
    },
  };
  return fixture;
}
