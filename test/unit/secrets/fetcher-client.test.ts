import { loadSettings } from '@matcher/shared/config/load.ts';
import type { MatcherError } from '@matcher/shared/errors.ts';
import { createFetcherClient, type FetcherClient } from '@matcher/shared/secrets/fetcher-client.ts';
import type { BearerToken, M2MTokenSource } from '@matcher/shared/secrets/m2m-token.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FetcherStandIn, type StandInAnswer, startFetcher } from '../../support/fetcher.ts';
import { testLog } from '../../support/test-log.ts';

const acme = canonicalTenantId('acme');
const secret = 's3cr3t-value';

let standIn: FetcherStandIn;
let client: FetcherClient;
let bearer: BearerToken;
let renewals: number;

/** Tokens from the stand-in itself, of which nothing is kept but the last. */
const tokens: M2MTokenSource = {
  get: async () => bearer,
  async renew() {
    renewals++;
    bearer = await newBearer();
    return bearer;
  },
};

async function newBearer(targetBaseUrl?: string): Promise<BearerToken> {
  standIn.allow('matcher-acme', secret);
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: 'matcher-acme',
    client_secret: secret,
  });
  const response = await fetch(`${standIn.address}/v1/login/oauth/access_token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: body.toString(),
  });
  const { access_token: token } = (await response.json()) as { access_token: string };
  return { token, credentials: { clientId: 'matcher-acme', clientSecret: secret, targetBaseUrl } };
}

function clientOf(url: string, options: { tokens?: M2MTokenSource; timeoutMs?: number } = {}): FetcherClient {
  const required = { MULTI_TENANT_URL: 'https://tenants.example.com', MULTI_TENANT_SERVICE_API_KEY: 'key' };
  const settings = loadSettings('publisher', { MULTI_TENANT_ENABLED: 'true', ...required, FETCHER_URL: url });
  return createFetcherClient({ settings, tokens: undefined, log: testLog().log, ...options });
}

beforeEach(async () => {
  standIn = await startFetcher();
  bearer = await newBearer();
  renewals = 0;
  client = clientOf(standIn.address, { tokens });
});
afterEach(() => standIn.close());

async function failure(promise: Promise<unknown>): Promise<MatcherError> {
  return promise.then(
    () => new Error('it succeeded') as MatcherError,
    (error: MatcherError) => error,
  );
}

test('its health is asked for without a token', async () => {
  await client.health();
  expect(standIn.calls).toEqual([{ method: 'GET', path: '/health', body: undefined, client: undefined }]);
  standIn.nextAnswers.push({ status: 503 });
  expect(await failure(client.health())).toMatchObject({ code: 'FETCHER_UNAVAILABLE', remedy: 'transient' });
});

test('a job is started and polled, and what the Fetcher says beyond the contract is handed on', async () => {
  const request = { dataRequest: { mappedFields: { ledger: { entries: ['id'] } } }, metadata: { source: 'matcher' } };
  const started = await client.startJob(acme, request);
  expect(started).toEqual({ jobId: 'job 1/2', status: 'pending', client: 'matcher-acme' });
  const job = await client.job(acme, started.jobId);
  expect(job).toMatchObject({ id: 'job 1/2', status: 'completed', resultPath: '/r.json' });
  expect(standIn.calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'POST /v1/fetcher',
    'GET /v1/fetcher/job%201%2F2',
  ]);
  expect(standIn.calls[0]?.body).toEqual(request);
});

test('connections are listed page by page, and a list that comes as null is empty', async () => {
  const first = await client.connections(acme, { page: 1, limit: 50 });
  expect(first.items).toEqual([{ id: 'ledger', configName: 'Ledger', type: 'POSTGRESQL' }]);
  expect((await client.connections(acme, { page: 2, limit: 50 })).items).toEqual([]);
  expect(standIn.calls[1]?.path).toBe('/v1/management/connections?page=2&limit=50');
});

test('a connection’s schema is read and the connection tried', async () => {
  const schema = await client.connectionSchema(acme, 'a?b#c');
  expect(schema).toMatchObject({ id: 'a?b#c', tables: [{ name: 'entries', fields: ['id', 'amount'] }] });
  expect(await client.testConnection(acme, 'ledger')).toMatchObject({ status: 'success', latencyMs: 3 });
  expect(standIn.calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'GET /v1/management/connections/a%3Fb%23c/schema',
    'POST /v1/management/connections/ledger/test',
  ]);
});

test.each(['', '.', '..'])('%j is no identifier: a path’s parser would climb with it', async (id) => {
  for (const call of [client.job(acme, id), client.connectionSchema(acme, id), client.testConnection(acme, id)]) {
    expect(await failure(call)).toMatchObject({ code: 'FETCHER_ID_INVALID' });
  }
  expect(standIn.calls).toEqual([]);
});

test('dots and escapes in an identifier stay in its segment', async () => {
  await client.job(acme, '../management/connections');
  await client.job(acme, '%2e%2e');
  expect(standIn.calls.map(({ path }) => path)).toEqual([
    '/v1/fetcher/..%2Fmanagement%2Fconnections',
    '/v1/fetcher/%252e%252e',
  ]);
});

test('a tenant whose secret names another address is served there', async () => {
  const elsewhere = clientOf('http://127.0.0.1:1', { tokens });
  bearer = await newBearer(standIn.address);
  expect(await elsewhere.job(acme, 'j1')).toMatchObject({ status: 'completed' });
});

describe('a 401', () => {
  test('is tried once more with a fresh token, a POST too', async () => {
    standIn.revokeTokens();
    expect(await client.startJob(acme, {})).toMatchObject({ jobId: 'job 1/2' });
    expect(renewals).toBe(1);
    expect(standIn.calls.map((call) => call.client)).toEqual([undefined, 'matcher-acme']);
  });

  test('a second time is an error', async () => {
    standIn.refuseAll = true;
    const error = await failure(client.job(acme, 'j1'));
    expect(error).toMatchObject({ code: 'FETCHER_UNAUTHORIZED', remedy: 'transient' });
    expect([renewals, standIn.calls.length]).toEqual([1, 2]);
  });

  test('in single-tenant mode, where there is no token, is an error at once', async () => {
    const error = await failure(clientOf(standIn.address).job(acme, 'j1'));
    expect(error).toMatchObject({ code: 'FETCHER_UNAUTHORIZED' });
    expect(standIn.calls).toHaveLength(1);
  });
});

const answers: [string, StandInAnswer, string, string][] = [
  ['400', { status: 400, body: { code: 'FET-0001', message: secret } }, 'FETCHER_REJECTED', 'permanent'],
  ['403', { status: 403, body: secret }, 'FETCHER_FORBIDDEN', 'permanent'],
  ['404', { status: 404 }, 'FETCHER_NOT_FOUND', 'permanent'],
  ['409', { status: 409 }, 'FETCHER_CONFLICT', 'permanent'],
  ['422', { status: 422, body: { code: secret.repeat(10) } }, 'FETCHER_REJECTED', 'permanent'],
  ['429', { status: 429 }, 'FETCHER_THROTTLED', 'transient'],
  ['418', { status: 418 }, 'FETCHER_UNEXPECTED', 'permanent'],
  ['a redirect', { status: 302, headers: { location: '/health' } }, 'FETCHER_UNEXPECTED', 'permanent'],
  ['500', { status: 500, body: secret }, 'FETCHER_UNAVAILABLE', 'transient'],
  ['503', { status: 503 }, 'FETCHER_UNAVAILABLE', 'transient'],
  ['no JSON', { status: 200, body: secret }, 'FETCHER_UNREADABLE', 'transient'],
  [
    'an answer without what is relied on',
    { status: 200, body: { id: 'j1', state: secret } },
    'FETCHER_UNREADABLE',
    'transient',
  ],
  ['an endless answer', { status: 200, body: secret.repeat(900_000) }, 'FETCHER_UNREADABLE', 'transient'],
];
test.each(answers)('%s is an error of its own, without what the answer says', async (_what, answer, code, remedy) => {
  standIn.nextAnswers.push(answer);
  const error = await failure(client.job(acme, 'j1'));
  expect(error).toMatchObject({ code, remedy });
  expect(`${error.message} ${error.stack} ${error.cause}`).not.toContain(secret);
  expect(standIn.calls).toHaveLength(1);
});

test('the Fetcher’s own code is shown', async () => {
  standIn.nextAnswers.push({ status: 400, body: { code: 'FET-0001' } });
  expect((await failure(client.job(acme, 'j1'))).message).toBe(
    'The Fetcher does not accept the request (400, FET-0001)',
  );
});

test('a Fetcher that cannot be reached, or does not answer, is unavailable', async () => {
  const away = { code: 'FETCHER_UNAVAILABLE', remedy: 'transient' };
  expect(await failure(clientOf('http://127.0.0.1:1', { tokens }).job(acme, 'j1'))).toMatchObject(away);
  const release = standIn.hold();
  expect(await failure(clientOf(standIn.address, { tokens, timeoutMs: 50 }).job(acme, 'j1'))).toMatchObject(away);
  release();
});

test('a caller that gives up gets its own reason', async () => {
  const release = standIn.hold();
  const controller = new AbortController();
  const call = client.job(acme, 'j1', controller.signal);
  await expect.poll(() => standIn.calls.length).toBe(1);
  controller.abort(new Error('the job was cancelled'));
  await expect(call).rejects.toThrow('the job was cancelled');
  release();
});
