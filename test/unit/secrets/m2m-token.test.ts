import { loadSettings } from '@matcher/shared/config/load.ts';
import type { MatcherError } from '@matcher/shared/errors.ts';
import type { M2MCredentialSource } from '@matcher/shared/secrets/m2m-credentials.ts';
import type { M2MCredentials } from '@matcher/shared/secrets/m2m-secret.ts';
import { createM2MTokens, type M2MTokenSource } from '@matcher/shared/secrets/m2m-token.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FetcherStandIn, type StandInAnswer, startFetcher } from '../../support/fetcher.ts';

const acme = canonicalTenantId('acme');
const secret = 's3cr3t&value=%';

let standIn: FetcherStandIn;
let now: number;
let tokens: M2MTokenSource;
/** The credentials that are cached, and those that Secrets Manager has. */
let cached: M2MCredentials;
let stored: M2MCredentials;
let renewals: number;

const credentials: M2MCredentialSource = {
  get: async () => cached,
  async renew() {
    renewals++;
    cached = stored;
    return cached;
  },
};

const client = (clientSecret: string) => ({ clientId: 'matcher-acme', clientSecret, targetBaseUrl: undefined });

function tokensFrom(address: string, timeoutMs?: number) {
  const env = { PLUGIN_AUTH_ADDRESS: address, MULTI_TENANT_ENABLED: 'true' };
  const required = { MULTI_TENANT_URL: 'https://tenants.example.com', MULTI_TENANT_SERVICE_API_KEY: 'key' };
  const settings = loadSettings('publisher', { ...env, ...required });
  return createM2MTokens({ settings, credentials, now: () => now, ...(timeoutMs ? { timeoutMs } : {}) });
}

beforeEach(async () => {
  standIn = await startFetcher();
  standIn.allow('matcher-acme', secret);
  now = 0;
  standIn.now = () => now;
  renewals = 0;
  cached = stored = client(secret);
  tokens = tokensFrom(standIn.address);
});
afterEach(() => standIn.close());

async function failure(promise: Promise<unknown>): Promise<MatcherError> {
  const error = await promise.then(
    () => new Error('it succeeded'),
    (error: MatcherError) => error,
  );
  return error as MatcherError;
}

test('a token is got with the client-credentials grant, once for fifty callers', async () => {
  const got = await Promise.all(Array.from({ length: 50 }, () => tokens.get(acme)));
  expect(standIn.tokenRequests).toEqual(['matcher-acme']);
  expect(new Set(got.map(({ token }) => token))).toEqual(new Set(standIn.tokens));
});

test('it is kept until 30 seconds before it ends', async () => {
  standIn.expiresIn = 100;
  await tokens.get(acme);
  now = 69_999;
  await tokens.get(acme);
  expect(standIn.tokenRequests).toHaveLength(1);
  now = 70_000;
  await tokens.get(acme);
  expect(standIn.tokenRequests).toHaveLength(2);
});

test('one that ends within 30 seconds is used and not kept', async () => {
  standIn.expiresIn = 20;
  await tokens.get(acme);
  await tokens.get(acme);
  expect(standIn.tokenRequests).toHaveLength(2);
});

test('a caller’s cancellation does not fail the others', async () => {
  const release = standIn.hold();
  const controller = new AbortController();
  const patient = tokens.get(acme);
  const impatient = tokens.get(acme, controller.signal);
  controller.abort(new Error('the job was cancelled'));
  await expect(impatient).rejects.toThrow('the job was cancelled');
  release();
  expect((await patient).token).toBe(standIn.tokens[0]);
});

describe('a refused client', () => {
  test('that was rotated since it was cached is read again, once', async () => {
    cached = client('the old secret');
    expect((await tokens.get(acme)).token).toBe(standIn.tokens[0]);
    expect([renewals, standIn.tokenRequests.length]).toEqual([1, 2]);
  });

  test('that is still the same is an error, and for five seconds nobody is asked again', async () => {
    cached = stored = client('a wrong secret');
    const error = await failure(tokens.get(acme));
    expect(error).toMatchObject({ code: 'M2M_TOKEN_REFUSED', remedy: 'transient' });
    expect(error.message).toContain('(401, invalid_client)');
    now = 4999;
    expect(await failure(tokens.get(acme))).toMatchObject({ code: 'M2M_TOKEN_REFUSED' });
    expect([renewals, standIn.tokenRequests.length]).toEqual([1, 1]);
    standIn.allow('matcher-acme', 'a wrong secret');
    now = 5000;
    await tokens.get(acme);
  });

  test('is no reason to show what the service repeats', async () => {
    cached = stored = client('a wrong secret');
    const error = await failure(tokens.get(acme));
    expect(`${error.message} ${error.hint} ${error.stack} ${error.cause}`).not.toMatch(/wrong secret|matcher-acme/);
  });
});

const answers: [string, StandInAnswer, string][] = [
  ['500', { status: 500, body: secret }, 'M2M_TOKEN_UNAVAILABLE'],
  ['503', { status: 503 }, 'M2M_TOKEN_UNAVAILABLE'],
  ['429', { status: 429 }, 'M2M_TOKEN_UNAVAILABLE'],
  ['404', { status: 404, body: secret }, 'M2M_TOKEN_UNREADABLE'],
  ['a redirect', { status: 307, headers: { location: '/v1/login/oauth/access_token' } }, 'M2M_TOKEN_UNREADABLE'],
  ['no JSON', { status: 200, body: secret }, 'M2M_TOKEN_UNREADABLE'],
  ['no token', { status: 200, body: { token_type: 'Bearer', expires_in: 60 } }, 'M2M_TOKEN_UNREADABLE'],
  [
    'an empty token',
    { status: 200, body: { access_token: '', token_type: 'Bearer', expires_in: 60 } },
    'M2M_TOKEN_UNREADABLE',
  ],
  [
    'a token that no header can carry',
    { status: 200, body: { access_token: `${secret}\n`, token_type: 'Bearer', expires_in: 60 } },
    'M2M_TOKEN_UNREADABLE',
  ],
  [
    'another type of token',
    { status: 200, body: { access_token: secret, token_type: 'mac', expires_in: 60 } },
    'M2M_TOKEN_UNREADABLE',
  ],
  [
    'a token without an end',
    { status: 200, body: { access_token: secret, token_type: 'Bearer' } },
    'M2M_TOKEN_UNREADABLE',
  ],
  ['an endless answer', { status: 200, body: secret.repeat(10_000) }, 'M2M_TOKEN_UNREADABLE'],
];
test.each(answers)('%s is an error that is not kept, and shows nothing of the answer', async (_what, answer, code) => {
  standIn.nextTokenAnswers.push(answer);
  const error = await failure(tokens.get(acme));
  expect(error.code).toBe(code);
  expect(`${error.message} ${error.stack} ${error.cause}`).not.toContain(secret);
  expect(standIn.tokenRequests).toHaveLength(1);
  expect((await tokens.get(acme)).token).toBe(standIn.tokens[0]);
});

test('a service that cannot be reached, or does not answer, is unavailable', async () => {
  const away = { code: 'M2M_TOKEN_UNAVAILABLE', remedy: 'not-now' };
  expect(await failure(tokensFrom('http://127.0.0.1:1').get(acme))).toMatchObject(away);
  const release = standIn.hold();
  expect(await failure(tokensFrom(standIn.address, 50).get(acme))).toMatchObject(away);
  release();
});
