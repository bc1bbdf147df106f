import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

const apiKey = 'k3y-of-the-service';
const password = 'p4ssw0rd-of-the-tenant';
const tenantId = canonicalTenantId('0190c6e2a4b87f3d9c2b5e8a1d4f7b60');

const answer = {
  id: '0190C6E2-A4B8-7F3D-9C2B-5E8A1D4F7B60',
  tenantSlug: 'blue-harbour',
  databases: {
    matcher: { postgresql: { host: 'db', port: 5432, database: 'd', username: 'u', password, sslmode: 'verify-full' } },
  },
  rabbitmq: { matcher: { host: 'broker', port: 5671, vhost: 'v', username: 'u', password, tls: true } },
};

let server: Server;
let url: string;
let requests: IncomingMessage[];
/** What the Tenant Manager does with the next requests. */
let respond: (request: IncomingMessage, response: ServerResponse) => void;

const json =
  (status: number, body: unknown, headers: Record<string, string> = {}) =>
  (_request: IncomingMessage, response: ServerResponse) =>
    void response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(typeof body === 'string' ? body : JSON.stringify(body));

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request);
    respond(request, response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests = [];
  respond = json(200, answer);
});
afterEach(() => vi.useRealTimers());

function client(env: NodeJS.ProcessEnv = {}) {
  return createTenantManagerClient(
    loadSettings('publisher', {
      MULTI_TENANT_ENABLED: 'true',
      MULTI_TENANT_URL: url,
      MULTI_TENANT_SERVICE_API_KEY: apiKey,
      ...env,
    }),
  );
}

const unavailable = { code: 'TENANT_MANAGER_UNAVAILABLE', remedy: 'not-now' };

test('a request carries the API key and asks for JSON, at the contract’s path', async () => {
  await client().config(tenantId);
  expect(requests[0]?.url).toBe(`/v1/tenants/${tenantId}/associations/matcher/connections`);
  expect(requests[0]?.headers).toMatchObject({ 'x-api-key': apiKey, accept: 'application/json' });
});

test('the list of active tenants is in canonical form, each once, without what is no identifier', async () => {
  respond = json(200, [{ id: answer.id }, { id: tenantId }, { id: 'Acme', status: 'active' }, { id: '../etc' }]);
  expect(await client().listActive()).toEqual([tenantId, 'Acme']);
  expect(requests[0]?.url).toBe('/v1/tenants/active?service=matcher');
});

describe('an answer that is about the tenant', () => {
  test.each<[string, number, unknown, Record<string, unknown>]>([
    [
      '404',
      404,
      { code: 'TENANT_NOT_FOUND', error: 'no such tenant' },
      { code: 'TENANT_NOT_FOUND', remedy: 'not-now' },
    ],
    ['404 without a body', 404, '', { code: 'TENANT_NOT_FOUND' }],
    [
      '403 with a status',
      403,
      { code: '0131', error: 'x', status: 'suspended' },
      { code: 'TENANT_SUSPENDED', remedy: 'not-now', message: expect.stringContaining('suspended') },
    ],
    [
      '403 of a purged tenant',
      403,
      { status: 'purged' },
      { code: 'TENANT_SUSPENDED', message: expect.stringContaining('purged') },
    ],
    [
      '403 without a status',
      403,
      { error: 'denied' },
      { code: 'TENANT_MANAGER_REFUSED', remedy: 'not-now', hint: expect.stringContaining('API_KEY') },
    ],
    ['401', 401, { error: 'denied' }, { code: 'TENANT_MANAGER_REFUSED', remedy: 'not-now' }],
    [
      '409, such as while it is provisioned',
      409,
      { error: 'not yet' },
      { code: 'TENANT_MANAGER_REFUSED', remedy: 'not-now' },
    ],
    // Says nothing about the job that needed the answer, which must not become a dead letter for it.
    ['400', 400, { error: 'bad request' }, { code: 'TENANT_MANAGER_REFUSED', remedy: 'not-now' }],
    ['429 that is no JSON', 429, '<html>slow down</html>', { code: 'TENANT_MANAGER_REFUSED', remedy: 'not-now' }],
  ])('%s', async (_what, status, body, expected) => {
    respond = json(status, body);
    await expect(client().config(tenantId)).rejects.toMatchObject(expected);
    expect(requests).toHaveLength(1);
  });

  test('of another tenant is not taken for this one’s', async () => {
    respond = json(200, { ...answer, id: 'another' });
    await expect(client().config(tenantId)).rejects.toMatchObject({
      code: 'SERVICE_NOT_CONFIGURED',
      remedy: 'not-now',
    });
    respond = json(200, { ...answer, id: `urn:uuid:${tenantId}` });
    await expect(client().config(tenantId)).rejects.toMatchObject({
      code: 'SERVICE_NOT_CONFIGURED',
      remedy: 'not-now',
    });
  });
});

describe('a failure of the Tenant Manager itself says nothing about the tenant', () => {
  test.each([500, 502, 503])('%i', async (status) => {
    respond = json(status, { error: 'x' });
    await expect(client().config(tenantId)).rejects.toMatchObject(unavailable);
  });

  test.each<[string, unknown]>([
    ['no JSON', '<html>'],
    ['cut off', '{"id":'],
    ['a list instead of an object', []],
    ['a port that is none', { ...answer, rabbitmq: { matcher: { ...answer.rabbitmq.matcher, port: 0 } } }],
  ])('an answer that cannot be read: %s', async (_what, body) => {
    respond = json(200, body);
    await expect(client().config(tenantId)).rejects.toMatchObject(unavailable);
  });

  test('a redirect is not followed', async () => {
    respond = json(302, '', { location: `${url}/elsewhere` });
    await expect(client().config(tenantId)).rejects.toMatchObject({ remedy: 'not-now' });
    expect(requests.map((request) => request.url)).not.toContain('/elsewhere');
  });

  test('an answer of more than 10 MiB is not read to its end', async () => {
    let closed: Promise<unknown> | undefined;
    respond = (_request, response) => {
      closed = once(response, 'close');
      const piece = Buffer.alloc(1024 * 1024, ' ');
      const more = () => {
        while (!response.destroyed && response.write(piece));
        response.once('drain', more);
      };
      more();
    };
    await expect(client().config(tenantId)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('longer than'),
    });
    await closed;
  });

  test.each<[string, () => void]>([
    ['at all', () => {}],
    [
      'to the end',
      () => {
        respond = (_request, response) => void response.writeHead(200).write('{"id":');
      },
    ],
  ])('no answer in time %s', async (_what, arrange) => {
    respond = () => {};
    arrange();
    await expect(client({ MULTI_TENANT_TIMEOUT: '1' }).config(tenantId)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('in time'),
    });
  });

  test('nobody there', async () => {
    await expect(client({ MULTI_TENANT_URL: 'http://127.0.0.1:1' }).config(tenantId)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('cannot be reached'),
    });
  });
});

describe('the cache', () => {
  test('one request at a time per tenant, however many ask', async () => {
    const { config } = client();
    const configs = await Promise.all(Array.from({ length: 20 }, () => config(tenantId)));
    expect(requests).toHaveLength(1);
    expect(new Set(configs).size).toBe(1);
    await config(tenantId);
    expect(requests).toHaveLength(1);
  });

  test('who waits behind a request that fails shares its failure and does not repeat it; the next one asks again', async () => {
    const { config } = client();
    respond = json(500, '');
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => config(tenantId)));
    expect(requests).toHaveLength(1);
    for (const result of results) expect(result).toMatchObject({ reason: unavailable });
    respond = json(200, answer);
    expect((await config(tenantId)).slug).toBe('blue-harbour');
  });

  test('what is cached is asked for again after MULTI_TENANT_CACHE_TTL_SEC', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { config } = client({ MULTI_TENANT_CACHE_TTL_SEC: '120' });
    await config(tenantId);
    vi.advanceTimersByTime(119_000);
    await config(tenantId);
    expect(requests).toHaveLength(1);
    vi.advanceTimersByTime(2000);
    respond = json(200, { ...answer, tenantSlug: 'renamed' });
    expect((await config(tenantId)).slug).toBe('renamed');
  });

  test('with the Tenant Manager down, running tenants go on with what is known, past the cache’s expiry', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { config } = client({ MULTI_TENANT_CACHE_TTL_SEC: '1' });
    const known = await config(tenantId);
    vi.advanceTimersByTime(5000);
    respond = json(503, '');
    expect(await config(tenantId)).toEqual(known);
    // What it says about the tenant counts, though.
    respond = json(403, { status: 'suspended' });
    await expect(config(tenantId)).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' });
  });

  test('what was forgotten is asked for again', async () => {
    const { config, forget } = client();
    await config(tenantId);
    forget(tenantId);
    await config(tenantId);
    expect(requests).toHaveLength(2);
  });

  test('a tenant that changes while it is asked for: who waits gets an answer, and the outdated one is not kept', async () => {
    const { config, forget } = client();
    const asked = Promise.withResolvers<ServerResponse>();
    respond = (_request, response) => asked.resolve(response);
    const first = config(tenantId);
    const held = await asked.promise;
    forget(tenantId);
    respond = json(200, { ...answer, tenantSlug: 'changed' });
    expect((await config(tenantId)).slug).toBe('changed');
    held.writeHead(200).end(JSON.stringify(answer));
    expect((await first).slug).toBe('blue-harbour');
    expect((await config(tenantId)).slug).toBe('changed');
    expect(requests).toHaveLength(2);
  });
});

test('whoever stops waiting for the list is not kept waiting', async () => {
  respond = () => {};
  const stop = new AbortController();
  const list = client().listActive(stop.signal);
  stop.abort();
  await expect(list).rejects.toMatchObject(unavailable);
});

test.each<[string, typeof respond]>([
  [
    'an answer with a mistake in it',
    json(200, { ...answer, databases: { matcher: { postgresql: { host: '', password } } } }),
  ],
  ['an answer that is no JSON', json(200, `password=${password}&key=${apiKey}`)],
  ['a refusal that repeats the key', json(403, { error: `no access with ${apiKey}` })],
  ['a failure that repeats the key', json(500, { error: `no access with ${apiKey}` })],
  ['a closed connection', (request) => void request.socket.destroy()],
])('neither the API key nor a password is in an error: %s', async (_what, doing) => {
  respond = doing;
  const error = await client()
    .config(tenantId)
    .then(
      () => expect.unreachable(),
      (error) => error,
    );
  expect(error.code).toMatch(/^TENANT_MANAGER_/);
  const text = inspect(error, { depth: 10, showHidden: true });
  expect(text).not.toContain(apiKey);
  expect(text).not.toContain(password);
});
