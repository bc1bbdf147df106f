import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { keyOf, type M2MFixture, startM2M } from '../support/m2m.ts';
import { type MatcherRun, matcher } from '../support/matcher.ts';

let m2m: M2MFixture;
let acme: TenantId;
let runs: MatcherRun[];

beforeEach(async () => {
  m2m = await startM2M();
  acme = newTenantId();
  runs = [];
  use({});
});
afterEach(async () => {
  vi.unstubAllEnvs();
  const printed = runs.map(({ stdout, stderr }) => stdout + stderr).join('');
  for (const text of [...m2m.secretTexts, ...m2m.fetcher.tokens]) expect(printed).not.toContain(text);
  await m2m.close();
});

const use = (overrides: NodeJS.ProcessEnv) => {
  for (const [name, value] of Object.entries(m2m.environment(overrides))) vi.stubEnv(name, value);
};

async function fetcher(...args: string[]): Promise<MatcherRun> {
  const run = await matcher(['fetcher', ...args]);
  runs.push(run);
  return run;
}

const document = async (...args: string[]) => JSON.parse((await fetcher(...args, '--tenant', acme, '--json')).stdout);

describe('fetcher check', () => {
  test('goes the whole way as the tenant: health, credentials, token, connections', async () => {
    m2m.rotate(acme);
    const { status, stdout, stderr } = await fetcher('check', '--tenant', acme);
    expect([status, stdout]).toEqual([0, 'CONNECTION  NAME    TYPE\nledger      Ledger  POSTGRESQL\n']);
    expect(stderr).toMatch(
      /Fetcher: is up at .*\n(.*\n)*credentials: read\n(.*\n)*token: given by .*\n(.*\n)*connections: 1\n/,
    );
    expect(m2m.fetcher.calls.map(({ path, client }) => [path, client])).toEqual([
      ['/health', undefined],
      ['/v1/management/connections?page=1&limit=100', `client-of-${acme}`],
      ['/v1/management/connections?page=2&limit=100', `client-of-${acme}`],
    ]);
  });

  test('as a document, without what the Fetcher says beside id, name and type', async () => {
    m2m.rotate(acme);
    const items = [
      { id: 'c1', configName: 'Ledger', type: 'POSTGRESQL', password: 'p4ssword', host: 'db.internal' },
      { id: 'c2' },
    ];
    m2m.fetcher.nextAnswers.push({ status: 200, body: {} }, { status: 200, body: { items } });
    m2m.fetcher.nextAnswers.push({ status: 200, body: { items: null } });
    expect(await document('check')).toEqual({
      tenantId: acme,
      fetcher: 'up',
      credentials: 'read',
      cache: 'reachable',
      token: 'given',
      connections: [
        { id: 'c1', name: 'Ledger', type: 'POSTGRESQL' },
        { id: 'c2', name: null, type: null },
      ],
    });
    expect(runs[0]?.stdout).not.toMatch(/p4ssword|db\.internal/);
  });

  test('keeps the credentials in Redis, as workers do, and takes them from there', async () => {
    m2m.rotate(acme);
    await document('check');
    expect(await m2m.redis.exists(keyOf(acme))).toBe(1);
    await document('check');
    // Sealed with the API key, which is the same in both.
    expect(m2m.aws.asked).toHaveLength(1);
  });

  test('does without Redis, and says so', async () => {
    m2m.rotate(acme);
    use({ REDIS_HOST: '127.0.0.1:1' });
    expect(await document('check')).toMatchObject({ cache: 'unreachable', credentials: 'read', token: 'given' });
  });

  test.each<[string, () => void, string, RegExp]>([
    ['the Fetcher is away', () => use({ FETCHER_URL: 'http://127.0.0.1:1' }), 'FETCHER_UNAVAILABLE', /^$/],
    ['the Fetcher is not healthy', () => m2m.fetcher.nextAnswers.push({ status: 503 }), 'FETCHER_UNAVAILABLE', /^$/],
    ['the tenant has no secret', () => {}, 'M2M_SECRET_NOT_FOUND', /Fetcher: is up/],
    ['AWS denies', () => vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'guessed'), 'M2M_SECRET_ACCESS_DENIED', /Fetcher: is up/],
    ['the client is unknown', unknownClient, 'M2M_TOKEN_REFUSED', /credentials: read/],
    ['the token is refused', refuseAll, 'FETCHER_UNAUTHORIZED', /token: given/],
  ])('says which step fails, after those that went well: %s', async (_what, arrange, code, before) => {
    arrange();
    const { status, stdout, stderr } = await fetcher('check', '--tenant', acme);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`[${code}]`);
    const steps = stderr.split('\n').filter((line) => /: (is up|read$|read;|given)/.test(line));
    expect(steps.at(-1) ?? '').toMatch(before);
  });
  function unknownClient() {
    m2m.rotate(acme);
    m2m.fetcher.allow(`client-of-${acme}`, 'another secret');
  }
  function refuseAll() {
    m2m.rotate(acme);
    m2m.fetcher.refuseAll = true;
  }

  test('in single-tenant mode: without credentials, as the one tenant', async () => {
    use({ MULTI_TENANT_ENABLED: 'false' });
    m2m.fetcher.nextAnswers.push({ status: 200 }, { status: 200, body: { items: [{ id: 'c1' }] } });
    m2m.fetcher.nextAnswers.push({ status: 200, body: { items: [] } });
    const { status, stdout } = await fetcher('check', '--json');
    expect([status, JSON.parse(stdout)]).toMatchObject([0, { credentials: null, cache: null, token: null }]);
    expect([m2m.aws.asked, m2m.fetcher.tokenRequests]).toEqual([[], []]);
  });
});

test('what is wrong with the configuration is said at once, by variable, and nothing is asked', async () => {
  for (const name of ['FETCHER_ENABLED', 'FETCHER_URL', 'PLUGIN_AUTH_ADDRESS', 'AWS_REGION', 'REDIS_HOST']) {
    vi.stubEnv(name, '');
  }
  const { status, stderr } = await fetcher('check', '--tenant', acme);
  expect(status).toBe(2);
  const named = [...stderr.matchAll(/^ {2}([A-Z_0-9]+) /gm)].map(([, name]) => name);
  expect(named.sort()).toEqual(['AWS_REGION', 'FETCHER_ENABLED', 'FETCHER_URL', 'PLUGIN_AUTH_ADDRESS', 'REDIS_HOST']);
  expect(m2m.fetcher.calls).toEqual([]);
});

describe('fetcher test', () => {
  test('has the Fetcher connect', async () => {
    m2m.rotate(acme);
    expect(await document('test', 'a/../b')).toEqual({ tenantId: acme, connectionId: 'a/../b', status: 'success' });
    expect(m2m.fetcher.calls.map(({ method, path }) => [method, path])).toEqual([
      ['POST', '/v1/management/connections/a%2F..%2Fb/test'],
    ]);
  });

  test('is a failure when the Fetcher cannot connect, without what it says about the database', async () => {
    m2m.rotate(acme);
    const body = { status: 'error', message: 'password p4ssword refused for db.internal' };
    m2m.fetcher.nextAnswers.push({ status: 200, body });
    const { status, stderr } = await fetcher('test', 'ledger', '--tenant', acme);
    expect([status, stderr]).toEqual([1, expect.stringContaining('[FETCHER_CONNECTION_FAILED]')]);
    expect(stderr).not.toMatch(/p4ssword|db\.internal/);
  });

  test.each([
    ['a connection that is not there', 'nothing', 404, 'FETCHER_NOT_FOUND', 1],
    ['what is no identifier', '..', undefined, 'FETCHER_ID_INVALID', 2],
  ])('%s', async (_what, id, answer, code, expected) => {
    m2m.rotate(acme);
    if (answer) m2m.fetcher.nextAnswers.push({ status: answer });
    const { status, stderr } = await fetcher('test', id, '--tenant', acme);
    expect([status, stderr]).toEqual([expected, expect.stringContaining(`[${code}]`)]);
  });
});

test('fetcher schema shows tables and fields', async () => {
  m2m.rotate(acme);
  expect(await document('schema', 'ledger')).toEqual({
    tenantId: acme,
    connectionId: 'ledger',
    tables: [{ name: 'entries', fields: ['id', 'amount'] }],
  });
  const { stdout } = await fetcher('schema', 'ledger', '--tenant', acme);
  expect(stdout).toBe('TABLE    FIELDS\nentries  id, amount\n');
});
