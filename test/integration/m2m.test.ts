import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import type { MatcherError } from '@matcher/shared/errors.ts';
import { createRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { createFetcherClient } from '@matcher/shared/secrets/fetcher-client.ts';
import { createM2MCredentials, type M2MCredentialSource } from '@matcher/shared/secrets/m2m-credentials.ts';
import { m2mSecretName } from '@matcher/shared/secrets/m2m-path.ts';
import { createM2MTokens } from '@matcher/shared/secrets/m2m-token.ts';
import { createSecretReader, type SecretReader } from '@matcher/shared/secrets/secrets-manager.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { type FetcherStandIn, startFetcher } from '../support/fetcher.ts';
import { type SecretsManagerStandIn, startSecretsManager } from '../support/secrets-manager.ts';
import { testLog } from '../support/test-log.ts';

let aws: SecretsManagerStandIn;
let fetcher: FetcherStandIn;
let settings: Settings;
let redis: Redis;
let now: number;
let log: ReturnType<typeof testLog>;
let acme: TenantId;
let blue: TenantId;
/** What must not stand in any log line, error or Redis value. */
let secretTexts: string[];
let ends: (() => unknown)[];

beforeEach(async () => {
  ends = [];
  aws = await startSecretsManager();
  fetcher = await startFetcher();
  Object.assign(process.env, aws.credentials);
  settings = settingsOf();
  log = testLog();
  redis = await connectRedis(settings);
  ends.push(aws.close, fetcher.close);
  now = 0;
  fetcher.now = () => now;
  secretTexts = [];
  acme = newTenantId();
  blue = newTenantId();
});

afterEach(async () => {
  const written = log.lines.join('');
  for (const text of [...secretTexts, ...fetcher.tokens]) expect(written).not.toContain(text);
  await redis.del(keyOf(acme), keyOf(blue)).catch(() => {});
  for (const end of ends) await end();
});

function settingsOf(overrides: NodeJS.ProcessEnv = {}): Settings {
  return loadSettings('worker', {
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
}

async function connectRedis(of: Settings): Promise<Redis> {
  const client = createRedis(of, log.log);
  ends.push(() => client.disconnect());
  await once(client, 'ready');
  return client;
}

function reader(limits?: Parameters<typeof createSecretReader>[1]): SecretReader {
  const secrets = createSecretReader(settings, limits);
  ends.push(secrets.close);
  return secrets;
}

/** What one process has. Several share Redis and Secrets Manager. */
function startProcess(parts: { redis?: Redis; settings?: Settings; secrets?: SecretReader } = {}) {
  const common = { settings, redis, secrets: reader(), log: log.log, now: () => now, ...parts };
  const credentials = createM2MCredentials(common);
  const tokens = createM2MTokens({ settings: common.settings, credentials, now: () => now });
  return { credentials, tokens, client: createFetcherClient({ settings: common.settings, tokens, log: log.log }) };
}

const nameOf = (tenantId: TenantId) =>
  m2mSecretName({ environment: 'test', tenantOrgId: tenantId, targetService: 'fetcher' });
const keyOf = (tenantId: TenantId) => `tenant:${tenantId}:m2m:fetcher:${tenantId}:credentials`;

/** Gives the tenant a client with a new secret, in Secrets Manager and at the authorization service. */
function rotate(tenantId: TenantId, more: object = {}): string {
  const clientSecret = `secret-${randomBytes(12).toString('hex')}`;
  secretTexts.push(clientSecret, nameOf(tenantId));
  aws.put(nameOf(tenantId), JSON.stringify({ clientId: `client-of-${tenantId}`, clientSecret, ...more }));
  fetcher.allow(`client-of-${tenantId}`, clientSecret);
  return clientSecret;
}

/** The error, which shows no secret and no path. */
async function failure(promise: Promise<unknown>): Promise<MatcherError> {
  const error = await promise.then(
    () => new Error('it succeeded') as MatcherError,
    (error: MatcherError) => error,
  );
  for (const text of secretTexts) expect(`${error.message} ${error.hint} ${error.stack}`).not.toContain(text);
  expect(error.cause).toBeUndefined();
  return error;
}

describe('credentials', () => {
  test('are read through the AWS SDK, with a signature that is checked, under the name of the contract', async () => {
    const clientSecret = rotate(acme);
    expect(await startProcess().credentials.get(acme)).toEqual({
      clientId: `client-of-${acme}`,
      clientSecret,
      targetBaseUrl: undefined,
    });
    expect(aws.asked).toEqual([`tenants/test/${acme}/matcher/m2m/fetcher/credentials`]);
    expect(log.lines.join('')).toContain('machine-to-machine credentials were read');
  });

  test('have no environment in their name where there is no label', async () => {
    settings = settingsOf({ MULTI_TENANT_ENVIRONMENT: '', MULTI_TENANT_REDIS_HOST: '' });
    await failure(startProcess().credentials.get(acme));
    expect(aws.asked).toEqual([`tenants/${acme}/matcher/m2m/fetcher/credentials`]);
  });

  test('are the same under both spellings of the tenant’s UUID (one tenant is not two)', async () => {
    const uuid = randomUUID();
    acme = canonicalTenantId(uuid);
    rotate(acme);
    const { credentials } = startProcess();
    await credentials.get(canonicalTenantId(uuid.toUpperCase()));
    await credentials.get(canonicalTenantId(uuid.replaceAll('-', '')));
    expect(aws.asked).toHaveLength(1);
    expect(await redis.exists(keyOf(acme))).toBe(1);
  });

  test('are kept in memory for 30 seconds, then in Redis, from which another process has them too', async () => {
    rotate(acme);
    const { credentials } = startProcess();
    const first = await credentials.get(acme);
    await redis.del(keyOf(acme));
    now = 29_999;
    expect(await credentials.get(acme)).toEqual(first);
    expect(aws.asked).toHaveLength(1);

    now = 30_000;
    await credentials.get(acme);
    expect(aws.asked).toHaveLength(2);

    now = 60_000;
    expect(await credentials.get(acme)).toEqual(first);
    expect(await startProcess().credentials.get(acme)).toEqual(first);
    expect(aws.asked).toHaveLength(2);
  });

  test('are in Redis under the key of the contract, with the prefix once, for M2M_CREDENTIAL_CACHE_TTL_SEC', async () => {
    rotate(acme);
    settings = settingsOf({ M2M_CREDENTIAL_CACHE_TTL_SEC: '77' });
    await startProcess().credentials.get(acme);
    expect(await redis.keys(`*${acme}*`)).toEqual([keyOf(acme)]);
    const ttl = await redis.pttl(keyOf(acme));
    expect(ttl).toBeGreaterThan(70_000);
    expect(ttl).toBeLessThanOrEqual(77_000);
  });

  test('are not in clear text in Redis', async () => {
    const clientSecret = rotate(acme);
    await startProcess().credentials.get(acme);
    const raw = (await redis.get(keyOf(acme))) ?? '';
    expect(raw).toMatch(/^v1\.[\w-]{40,}$/);
    const decoded = Buffer.from(raw.slice(3), 'base64url').toString('latin1');
    for (const text of [clientSecret, 'client', acme]) expect(raw + decoded).not.toContain(text);
  });

  test('of fifty callers at once are one call, and of each tenant its own', async () => {
    rotate(acme);
    rotate(blue);
    const { credentials } = startProcess();
    const callers = Array.from({ length: 50 }, () => credentials.get(acme));
    const other = await credentials.get(blue);
    const got = await Promise.all(callers);
    expect(aws.asked.toSorted()).toEqual([nameOf(acme), nameOf(blue)].toSorted());
    expect(new Set(got.map(({ clientId }) => clientId))).toEqual(new Set([`client-of-${acme}`]));
    expect(other.clientId).toBe(`client-of-${blue}`);
  });

  test('a caller’s cancellation does not fail the others', async () => {
    rotate(acme);
    const { credentials } = startProcess();
    const release = aws.hold();
    const controller = new AbortController();
    const patient = credentials.get(acme);
    const impatient = credentials.get(acme, controller.signal);
    await aws.arrived(1);
    controller.abort(new Error('the job was cancelled'));
    await expect(impatient).rejects.toThrow('the job was cancelled');
    release();
    expect((await patient).clientId).toBe(`client-of-${acme}`);
    expect(aws.asked).toHaveLength(1);
  });
});

describe('one tenant’s credentials are never another’s', () => {
  test('its scope reaches only its own key', async () => {
    rotate(acme);
    await startProcess().credentials.get(acme);
    const ofBlue = tenantRedis(redis, blue);
    for (const key of [keyOf(acme), `m2m:fetcher:${acme}:credentials`, `m2m:fetcher:${blue}:credentials`]) {
      expect(await ofBlue.get(key)).toBeNull();
    }
    expect(await tenantRedis(redis, acme).get(`m2m:fetcher:${acme}:credentials`)).not.toBeNull();
  });

  test('its value at another tenant’s key is a miss', async () => {
    rotate(acme);
    rotate(blue);
    const { credentials } = startProcess();
    await credentials.get(acme);
    await redis.set(keyOf(blue), (await redis.get(keyOf(acme))) ?? '', 'EX', 60);
    expect((await credentials.get(blue)).clientId).toBe(`client-of-${blue}`);
    expect(aws.asked).toEqual([nameOf(acme), nameOf(blue)]);
  });

  test.each(['{"clientId":"x","clientSecret":"y","targetBaseUrl":"https://evil.example.com"}', '', 'v1.AAAA'])(
    'and what somebody wrote to Redis is a miss: %j',
    async (planted) => {
      rotate(acme);
      await redis.set(keyOf(acme), planted, 'EX', 60);
      expect((await startProcess().credentials.get(acme)).clientId).toBe(`client-of-${acme}`);
      expect(await redis.get(keyOf(acme))).not.toBe(planted);
    },
  );

  test('a deployment with another API key cannot open it', async () => {
    rotate(acme);
    await startProcess().credentials.get(acme);
    await startProcess({ settings: settingsOf() }).credentials.get(acme);
    expect(aws.asked).toHaveLength(2);
  });
});

describe('without Redis', () => {
  test('credentials come from memory and Secrets Manager, and a warning says so', async () => {
    rotate(acme);
    const gone = await connectRedis(settings);
    const { credentials } = startProcess({ redis: gone });
    gone.disconnect();
    await credentials.get(acme);
    await credentials.get(acme);
    expect(aws.asked).toHaveLength(1);
    now = 30_000;
    await credentials.get(acme);
    expect(aws.asked).toHaveLength(2);
    expect(log.lines.join('')).toMatch(/cannot be read from Redis; going on without/);
  });

  test('a refused token is still renewed, from Secrets Manager', async () => {
    rotate(acme);
    const failing = await connectRedis(settings);
    const { client } = startProcess({ redis: failing });
    await client.job(acme, 'j1');
    failing.disconnect();
    rotate(acme);
    fetcher.revokeTokens();
    expect(await client.job(acme, 'j2')).toMatchObject({ client: `client-of-${acme}` });
  });
});

describe('what is wrong has an error of its own:', () => {
  let credentials: M2MCredentialSource;
  beforeEach(() => {
    credentials = startProcess().credentials;
    secretTexts.push(nameOf(acme), 's3cr3t-value');
  });

  test.each<[string, () => void, string, string]>([
    ['no secret', () => {}, 'M2M_SECRET_NOT_FOUND', 'permanent'],
    ['no JSON', () => aws.put(nameOf(acme), '{"clientSecret": s3cr3t-value'), 'M2M_SECRET_MALFORMED', 'permanent'],
    ['a binary secret', () => aws.put(nameOf(acme), Buffer.from('s3cr3t-value')), 'M2M_SECRET_BINARY', 'permanent'],
    [
      'no clientId',
      () => aws.put(nameOf(acme), '{"clientSecret":"s3cr3t-value"}'),
      'M2M_CLIENT_ID_MISSING',
      'permanent',
    ],
    [
      'no clientSecret',
      () => aws.put(nameOf(acme), '{"clientId":"s3cr3t-value"}'),
      'M2M_CLIENT_SECRET_MISSING',
      'permanent',
    ],
    ['no permission', denyAcme, 'M2M_SECRET_ACCESS_DENIED', 'not-now'],
    ['no permission for the key', () => aws.failNext(1, 'DecryptionFailure'), 'M2M_SECRET_ACCESS_DENIED', 'not-now'],
  ])(
    '%s; it is the answer for five seconds, and then the secret is read again',
    async (_what, arrange, code, remedy) => {
      arrange();
      const error = await failure(credentials.get(acme));
      expect(error).toMatchObject({ code, remedy });
      expect(error.message).toMatch(/"credentials" \(path [0-9a-f]{8}\)/);

      rotate(acme);
      now = 4999;
      expect(await failure(credentials.get(acme))).toMatchObject({ code });
      expect(aws.asked).toHaveLength(1);
      now = 5000;
      expect((await credentials.get(acme)).clientId).toBe(`client-of-${acme}`);
      expect(await redis.exists(keyOf(acme))).toBe(1);
    },
  );

  function denyAcme(): void {
    aws.put(nameOf(acme), '{}');
    aws.deny(nameOf(acme));
  }

  test('nothing that failed is kept in Redis', async () => {
    await failure(credentials.get(acme));
    expect(await redis.exists(keyOf(acme))).toBe(0);
  });

  test('throttling and a failing service, when they do not pass within three attempts, and then the next caller asks', async () => {
    rotate(acme);
    aws.failNext(3, 'ThrottlingException');
    const callers = Array.from({ length: 50 }, () => failure(credentials.get(acme)));
    for (const caller of callers) {
      expect(await caller).toMatchObject({ code: 'M2M_SECRETS_THROTTLED', remedy: 'not-now' });
    }
    expect(aws.asked).toHaveLength(3);
    aws.failNext(3, 'InternalServiceError');
    expect(await failure(credentials.get(acme))).toMatchObject({ code: 'M2M_SECRETS_UNAVAILABLE', remedy: 'not-now' });
    expect(aws.asked).toHaveLength(6);
    await credentials.get(acme);
  });

  test('throttling that passes is no error', async () => {
    rotate(acme);
    aws.failNext(2, 'ThrottlingException');
    await credentials.get(acme);
    expect(aws.asked).toHaveLength(3);
  });

  test('a black hole, attempt by attempt and as a whole', async () => {
    rotate(acme);
    const release = aws.hold();
    const away = { code: 'M2M_SECRETS_UNAVAILABLE', remedy: 'not-now' };
    const impatient = startProcess({ secrets: reader({ attemptTimeoutMs: 50 }) });
    expect(await failure(impatient.credentials.get(acme))).toMatchObject(away);
    const limited = startProcess({ secrets: reader({ readTimeoutMs: 100 }) });
    expect(await failure(limited.credentials.get(acme))).toMatchObject(away);
    release();
  });

  test('nobody there', async () => {
    settings = settingsOf({ AWS_ENDPOINT_URL_SECRETS_MANAGER: 'http://127.0.0.1:1' });
    const error = await failure(startProcess().credentials.get(acme));
    expect(error).toMatchObject({ code: 'M2M_SECRETS_UNAVAILABLE', remedy: 'not-now' });
    expect(error.message).toContain('ECONNREFUSED');
  });

  test.each([
    ['AWS_SECRET_ACCESS_KEY', 'a guessed key'],
    ['AWS_ACCESS_KEY_ID', 'AKIAGUESSED'],
  ])('a process that AWS does not let in, by its %s', async (name, value) => {
    rotate(acme);
    process.env[name] = value;
    expect(await failure(startProcess().credentials.get(acme))).toMatchObject({ code: 'M2M_SECRET_ACCESS_DENIED' });
    expect(aws.asked).toEqual([]);
  });

  test('a region that is not the service’s', async () => {
    settings = settingsOf({ AWS_REGION: 'us-west-2' });
    expect(await failure(startProcess().credentials.get(acme))).toMatchObject({ code: 'M2M_SECRET_ACCESS_DENIED' });
  });
});

describe('the Fetcher', () => {
  test('is called with each tenant’s own token', async () => {
    rotate(acme);
    rotate(blue);
    const { client } = startProcess();
    expect(await client.job(acme, 'j1')).toMatchObject({ client: `client-of-${acme}` });
    expect(await client.job(blue, 'j1')).toMatchObject({ client: `client-of-${blue}` });
    await client.job(acme, 'j2');
    expect(fetcher.tokenRequests).toEqual([`client-of-${acme}`, `client-of-${blue}`]);
  });

  test('fifty calls at once are one secret read and one token', async () => {
    rotate(acme);
    const { client } = startProcess();
    await Promise.all(Array.from({ length: 50 }, (_, index) => client.job(acme, `j${index}`)));
    expect([aws.asked.length, fetcher.tokenRequests.length, fetcher.calls.length]).toEqual([1, 1, 50]);
  });

  test('after a rotation: the 401 clears token, memory and Redis, and the call succeeds with the new client', async () => {
    rotate(acme);
    const { client, credentials } = startProcess();
    await client.job(acme, 'j1');
    const before = await redis.get(keyOf(acme));
    const clientSecret = rotate(acme);
    fetcher.revokeTokens();

    expect(await client.startJob(acme, { metadata: {} })).toMatchObject({ jobId: 'job 1/2' });
    expect(fetcher.calls.map((call) => call.client)).toEqual([`client-of-${acme}`, undefined, `client-of-${acme}`]);
    expect((await credentials.get(acme)).clientSecret).toBe(clientSecret);
    expect(await redis.get(keyOf(acme))).not.toBe(before);
    // Another process has the new client from Redis.
    expect((await startProcess().credentials.get(acme)).clientSecret).toBe(clientSecret);
    expect(aws.asked).toHaveLength(2);
  });

  test('what was refused is gone from Redis before Secrets Manager is asked, whether or not it answers', async () => {
    rotate(acme);
    const { client } = startProcess();
    await client.job(acme, 'j1');
    fetcher.revokeTokens();
    aws.failNext(3, 'InternalServiceError');
    expect(await failure(client.job(acme, 'j2'))).toMatchObject({ code: 'M2M_SECRETS_UNAVAILABLE' });
    expect(await redis.exists(keyOf(acme))).toBe(0);
    expect(await client.job(acme, 'j3')).toMatchObject({ client: `client-of-${acme}` });
  });

  test('fifty calls refused at once cost one secret read and one token, and each is made exactly once more', async () => {
    rotate(acme);
    const { client } = startProcess();
    await client.job(acme, 'j1');
    rotate(acme);
    fetcher.revokeTokens();
    await Promise.all(Array.from({ length: 50 }, (_, index) => client.job(acme, `j${index}`)));
    expect([aws.asked.length, fetcher.tokenRequests.length]).toEqual([2, 2]);
    expect(fetcher.calls).toHaveLength(1 + 50 + 50);
  });

  test('a second 401 is an error after exactly two calls', async () => {
    rotate(acme);
    fetcher.refuseAll = true;
    expect(await failure(startProcess().client.job(acme, 'j1'))).toMatchObject({ code: 'FETCHER_UNAUTHORIZED' });
    expect([aws.asked.length, fetcher.tokenRequests.length, fetcher.calls.length]).toEqual([2, 2, 2]);
  });

  test('a token that ended is replaced before it is refused', async () => {
    rotate(acme);
    fetcher.expiresIn = 60;
    const { client } = startProcess();
    await client.job(acme, 'j1');
    now = 30_000;
    await client.job(acme, 'j2');
    expect(fetcher.tokenRequests).toHaveLength(2);
    expect(fetcher.calls.every((call) => call.client !== undefined)).toBe(true);
  });

  test('when the token ends after a rotation, the cached client’s refusal is no error', async () => {
    rotate(acme);
    const { client } = startProcess();
    fetcher.expiresIn = 40;
    await client.job(acme, 'j1');
    rotate(acme);
    now = 10_000;
    await client.job(acme, 'j2');
    expect([aws.asked.length, fetcher.tokenRequests.length]).toEqual([2, 3]);
  });

  test('is where the tenant’s secret says', async () => {
    const own = await startFetcher();
    ends.push(own.close);
    own.nextAnswers.push({ status: 200, body: { id: 'j1', status: 'completed' } });
    rotate(acme, { targetBaseUrl: `${own.address}/` });
    await startProcess().client.job(acme, 'j1');
    expect(own.calls.map(({ path }) => path)).toEqual(['/v1/fetcher/j1']);
    expect(fetcher.calls).toEqual([]);
  });
});
