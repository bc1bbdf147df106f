import { once } from 'node:events';
import { inspect } from 'node:util';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  connectionsOf,
  holding,
  json,
  type ManagerStandIn,
  type Respond,
  standInKey,
  standInPassword,
  startManagerStandIn,
} from '../../support/manager-stand-in.ts';
import { testLog } from '../../support/test-log.ts';

const tenantId = canonicalTenantId('0190c6e2a4b87f3d9c2b5e8a1d4f7b60');
const answer = connectionsOf('0190C6E2-A4B8-7F3D-9C2B-5E8A1D4F7B60');
const unavailable = { code: 'TENANT_MANAGER_UNAVAILABLE', remedy: 'not-now' };

let manager: ManagerStandIn;
beforeEach(async () => {
  manager = await startManagerStandIn();
  manager.respond = json(200, answer);
});
afterEach(() => manager.close());

const client = (overrides?: Partial<Settings>) => createTenantManagerClient(manager.settings(overrides));

test('a request carries the API key and asks for JSON, at the contract’s path', async () => {
  await client().config(tenantId);
  expect(manager.requests[0]?.url).toBe(`/v1/tenants/${tenantId}/associations/matcher/connections`);
  expect(manager.requests[0]?.headers).toMatchObject({ 'x-api-key': standInKey, accept: 'application/json' });
});

test('every request begins a trace, whose id is in the line about its failure', async () => {
  const { log, lines } = testLog();
  const { listActive, create } = createTenantManagerClient(manager.settings(), { log });
  manager.respond = json(500, '');
  await expect(listActive()).rejects.toMatchObject(unavailable);
  manager.respond = json(401, '');
  await expect(
    create({ name: 'x', environment: 'x', isolation: 'isolated', owner: { email: 'x@example.com' } }),
  ).rejects.toMatchObject({ code: 'TENANT_MANAGER_REFUSED' });
  const parents = manager.requests.map(({ headers }) => String(headers.traceparent));
  for (const parent of parents) expect(parent).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00$/);
  const traces = parents.map((parent) => parent.split('-')[1]);
  expect(new Set(traces).size).toBe(2);
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { level: 'warn', call: 'active', traceId: traces[0], code: 'TENANT_MANAGER_UNAVAILABLE' },
    { level: 'info', call: 'create', traceId: traces[1], code: 'TENANT_MANAGER_REFUSED' },
  ]);
});

test('three spellings of one tenant are one request and one configuration, and what is no identifier is never asked for', async () => {
  const { config } = client();
  for (const spelling of ['0190C6E2-A4B8-7F3D-9C2B-5E8A1D4F7B60', '0190c6e2A4B87f3d9c2b5e8a1d4f7b60', tenantId]) {
    expect((await config(canonicalTenantId(spelling))).tenantId).toBe(tenantId);
  }
  expect(manager.requests).toHaveLength(1);
  expect(() => canonicalTenantId(`urn:uuid:${tenantId}`)).toThrow(expect.objectContaining({ code: 'INVALID_TENANT' }));
});

test('the list of active tenants is in canonical form, each once, without what is no identifier', async () => {
  const urn = 'urn:uuid:0190c6e2-a4b8-7f3d-9c2b-5e8a1d4f7b60';
  const listed = [{ id: answer.id }, { id: tenantId }, { id: 'Acme', status: 'active' }, { id: '../etc' }, { id: urn }];
  manager.respond = json(200, listed);
  expect(await client().listActive()).toEqual([tenantId, 'Acme']);
  expect(manager.requests[0]?.url).toBe('/v1/tenants/active?service=matcher');
});

test('a list that is not where it should be is no unknown tenant, but a wrong address', async () => {
  manager.respond = json(404, '<html>');
  await expect(client().listActive()).rejects.toMatchObject({
    code: 'TENANT_MANAGER_REFUSED',
    hint: expect.stringContaining('MULTI_TENANT_URL'),
  });
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
      {
        code: 'TENANT_SUSPENDED',
        remedy: 'not-now',
        message: expect.stringContaining('suspended'),
      },
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
    manager.respond = json(status, body);
    await expect(client().config(tenantId)).rejects.toMatchObject(expected);
    expect(manager.requests).toHaveLength(1);
  });

  test.each(['another', `urn:uuid:${tenantId}`])('of another tenant (%s) is not taken for this one’s', async (id) => {
    manager.respond = json(200, { ...answer, id });
    await expect(client().config(tenantId)).rejects.toMatchObject({
      code: 'SERVICE_NOT_CONFIGURED',
      remedy: 'not-now',
    });
  });
});

test('a mistake in the tenant’s own module is that tenant’s, and one in another module is nobody’s', async () => {
  const broken = { ...answer.rabbitmq.matcher, port: 0 };
  manager.respond = json(200, { ...answer, rabbitmq: { matcher: broken } });
  await expect(client().config(tenantId)).rejects.toMatchObject({
    code: 'SERVICE_NOT_CONFIGURED',
    message: expect.stringContaining('RabbitMQ vhost has no valid port'),
  });
  manager.respond = json(200, {
    ...answer,
    rabbitmq: { ...answer.rabbitmq, aaa: broken },
    messaging: { rabbitmq: { host: '' } },
  });
  expect(await client().config(tenantId)).toMatchObject({ rabbitmq: { port: answer.rabbitmq.matcher.port } });
});

test('a suspension is heard whatever else is in the refusal', async () => {
  manager.respond = json(403, { code: 131, status: 'suspended' });
  await expect(client().config(tenantId)).rejects.toMatchObject({ code: 'TENANT_SUSPENDED' });
});

describe('a failure of the Tenant Manager itself says nothing about the tenant', () => {
  test.each([500, 502, 503])('%i', async (status) => {
    manager.respond = json(status, { error: 'x' });
    await expect(client().config(tenantId)).rejects.toMatchObject(unavailable);
  });

  test.each<[string, unknown]>([
    ['no JSON', '<html>'],
    ['cut off', '{"id":'],
    ['nothing', ''],
    ['a list instead of an object', []],
  ])('an answer that cannot be read: %s', async (_what, body) => {
    manager.respond = json(200, body);
    await expect(client().config(tenantId)).rejects.toMatchObject(unavailable);
  });

  test('a 404 that is not its own, from whatever stands in front of it', async () => {
    manager.respond = json(404, '<html>default backend - 404</html>');
    await expect(client().config(tenantId)).rejects.toMatchObject({ code: 'TENANT_MANAGER_REFUSED' });
  });

  test('one entry of the list that can’t be read costs that one, and a list of nothing else is none', async () => {
    manager.respond = json(200, [{ id: '' }, { id: tenantId }]);
    expect(await client().listActive()).toEqual([tenantId]);
    manager.respond = json(200, [{ id: '' }, 7]);
    await expect(client().listActive()).rejects.toMatchObject(unavailable);
  });

  test('a redirect is not followed', async () => {
    manager.respond = json(302, '', { location: '/elsewhere' });
    await expect(client().config(tenantId)).rejects.toMatchObject({ remedy: 'not-now' });
    expect(manager.requests.map(({ url }) => url)).not.toContain('/elsewhere');
  });

  test.each([301, 302, 303, 307, 308])('a redirect (%i) to another server does not show it the key', async (status) => {
    const elsewhere = await startManagerStandIn();
    elsewhere.respond = json(200, answer);
    const location = `${elsewhere.settings().MULTI_TENANT_URL}/v1/tenants/${tenantId}/associations/matcher/connections`;
    manager.respond = json(status, '', { location });
    await expect(client().config(tenantId)).rejects.toMatchObject({
      code: 'TENANT_MANAGER_REFUSED',
      remedy: 'not-now',
    });
    await expect(client().suspend(tenantId)).rejects.toMatchObject({ code: 'TENANT_MANAGER_REFUSED' });
    expect(elsewhere.requests).toEqual([]);
    await elsewhere.close();
  });

  test('an answer of nearly 10 MiB is read', async () => {
    const name = 'x'.repeat(1000);
    const listed = Array.from({ length: 10_000 }, (_, i) => ({ id: `t${i}`, name }));
    manager.respond = json(200, listed);
    expect(await client().listActive()).toHaveLength(10_000);
  });

  test('an answer of more than 10 MiB is not read to its end', async () => {
    let closed: Promise<unknown> | undefined;
    manager.respond = (_request, response) => {
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

  test.each<[string, Respond]>([
    ['at all', () => {}],
    ['to the end', (_request, response) => void response.writeHead(200).write('{"id":')],
    [
      'to the end, though there is always a little more',
      (_request, response) => {
        response.writeHead(200).write('{"id":"');
        const drip = setInterval(() => response.write('x'), 5);
        response.once('close', () => clearInterval(drip));
      },
    ],
  ])('no answer in time %s', async (_what, respond) => {
    manager.respond = respond;
    await expect(client({ MULTI_TENANT_TIMEOUT: 0.05 }).config(tenantId)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('did not answer within 50 ms'),
    });
  });

  test('nobody there', async () => {
    await expect(client({ MULTI_TENANT_URL: 'http://127.0.0.1:1' }).config(tenantId)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('cannot be reached'),
    });
  });
});

test('whoever stops waiting for the list is not kept waiting, and learns why he did', async () => {
  const { respond, asked } = holding();
  manager.respond = respond;
  const stop = new AbortController();
  const list = client().listActive(stop.signal);
  await asked;
  stop.abort(new Error('stopping'));
  await expect(list).rejects.toThrow('stopping');
});

test('how each call ended is counted, without a tenant in a label', async () => {
  const metrics = createMetrics();
  const settings = manager.settings({ MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: 1 });
  const { config, refresh, listActive, suspend } = createTenantManagerClient(settings, { metrics });
  await config(tenantId);
  manager.respond = json(403, { status: 'suspended' });
  await refresh(tenantId).catch(() => {});
  await suspend(tenantId).catch(() => {});
  manager.respond = json(503, '');
  await listActive().catch(() => {});
  await listActive().catch(() => {});
  const { values } = await metrics.managerRequests.get();
  expect(values.map(({ labels, value }) => ({ ...labels, value }))).toEqual([
    { call: 'connections', outcome: 'ok', value: 1 },
    { call: 'connections', outcome: 'refused', value: 1 },
    { call: 'suspend', outcome: 'refused', value: 1 },
    { call: 'active', outcome: 'failed', value: 1 },
    { call: 'active', outcome: 'rejected', value: 1 },
  ]);
  expect(await metrics.registry.metrics()).not.toContain(tenantId);
});

const postgresql = { host: '', password: standInPassword };
test.each<[string, Respond]>([
  ['an answer with a mistake in it', json(200, { ...answer, databases: { matcher: { postgresql } } })],
  ['a value that has the wrong type', json(200, { ...answer, rabbitmq: [standInPassword, standInKey] })],
  ['an answer that is no JSON', json(200, `password=${standInPassword}&key=${standInKey}`)],
  ['a refusal that repeats the key', json(403, { error: `no access with ${standInKey}` })],
  ['a refusal whose status repeats the key', json(403, { status: `not with ${standInKey}` })],
  ['a refusal that escapes the key', json(429, `{"error":"no access with \\u006b${standInKey.slice(1)}"}`)],
  ['a failure that repeats the key', json(500, { error: `no access with ${standInKey}` })],
  ['a redirect that repeats the key', json(302, '', { location: `/?key=${standInKey}` })],
  ['a closed connection', (request) => void request.socket.destroy()],
  ['what is no HTTP', (request) => void request.socket.end(`key ${standInKey} ${standInPassword}\r\n\r\n`)],
])('neither the API key nor a password is in an error or in the log: %s', async (_what, doing) => {
  manager.respond = doing;
  const { log, lines } = testLog();
  const { config, breaker } = createTenantManagerClient(
    manager.settings({ MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: 1 }),
    { log },
  );
  const error = await config(tenantId).then(
    () => expect.unreachable(),
    (error) => error,
  );
  const later = await config(tenantId).catch((error) => error);
  log.error({ err: error, error, later, breaker }, 'as whoever asked may log it');
  expect(error.code).toMatch(/^(TENANT_|SERVICE_NOT_CONFIGURED)/);
  expect(lines.length).toBeGreaterThan(0);
  const text = [...lines, inspect([error, later], { depth: 10, showHidden: true }), JSON.stringify(error)].join('\n');
  expect(text).not.toContain(standInKey);
  expect(text).not.toContain(standInPassword);
});

test('what a refusal says is shown, but no megabytes of it', async () => {
  manager.respond = json(429, { error: 'x'.repeat(1_000_000) });
  const error = await client()
    .config(tenantId)
    .catch((error) => error);
  expect(error.message).toContain('429');
  expect(error.message.length).toBeLessThan(1000);
});

test('of an answer with a thousand mistakes a few are named', async () => {
  const mistaken = Array.from({ length: 1000 }, () => ({ id: 7 }));
  manager.respond = json(200, mistaken);
  await expect(client().listActive()).rejects.toMatchObject({
    ...unavailable,
    message: 'The Tenant Manager sent an answer without a valid 0.id, 1.id, 2.id, 3.id, 4.id',
  });
});
