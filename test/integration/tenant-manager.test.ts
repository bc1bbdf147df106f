import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Fixture, startFixture, validTenant } from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 60_000 });

let manager: Fixture;

beforeAll(async () => {
  manager = await startFixture();
});
afterAll(() => manager.close());

const associate = (id: string, body: unknown = { isolationMode: 'isolated' }) =>
  manager.call('POST', `/v1/tenants/${id}/associations/matcher`, body);
const suspend = (id: string) => manager.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`);
const reactivate = (id: string) => manager.call('PUT', `/v1/tenants/${id}/reactivate`);
const connections = (id: string) => manager.call('GET', `/v1/tenants/${id}/associations/matcher/connections`);
const activeIds = async () => {
  const { body } = await manager.call('GET', '/v1/tenants/active?service=matcher');
  return body.map((tenant: { id: string }) => tenant.id);
};

describe('who may ask', () => {
  test('health needs no key', async () => {
    expect(await manager.call('GET', '/health', undefined, { 'x-api-key': '' })).toEqual({
      status: 200,
      body: { status: 'ok' },
    });
  });

  test('metrics need no key, and name no tenant, whatever was asked for', async () => {
    const id = await manager.create();
    await manager.call('GET', `/v1/tenants/${id}`);
    await manager.call('GET', `/nothing/${id}`, undefined, { 'x-api-key': '' });
    const response = await fetch(`${manager.address}/metrics`);
    const text = await response.text();
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const answers = 'matcher_tenant_manager_answers_total';
    expect(text).toMatch(new RegExp(`^${answers}{method="GET",route="/v1/tenants/:tenantId",status="200"} 1$`, 'm'));
    expect(text).toMatch(new RegExp(`^${answers}{method="GET",route="",status="401"} \\d+$`, 'm'));
    expect(text).not.toContain(id);
  });

  test.each(['', 'wrong'])('the key %j is refused with 401, on paths that do not exist too', async (key) => {
    for (const path of ['/v1/tenants/active?service=matcher', '/v1/tenants/x', '/nothing']) {
      const { status, body } = await manager.call('GET', path, undefined, { 'x-api-key': key });
      expect(status).toBe(401);
      expect(body).toEqual({ code: 'UNAUTHORIZED', error: 'X-API-Key is missing or wrong' });
    }
  });
});

describe('requests that are refused', () => {
  test('an invalid tenant: 400 with every problem named', async () => {
    const { status, body } = await manager.call('POST', '/v1/tenants', {
      id: 'urn:uuid:6b1f3c0a-0000-4000-8000-000000000000',
      slug: 'No Slug',
      isolation: 'shared',
      metadata: { region: 7 },
      owner: { email: 'nobody', emailVerified: 'yes' },
    });
    expect(status).toBe(400);
    expect(body.code).toBe('INVALID_REQUEST');
    expect(body.problems).toEqual([
      { field: 'id', problem: 'is no tenant identifier, or a reserved one' },
      { field: 'name', problem: 'is required' },
      { field: 'slug', problem: 'takes lowercase letters, digits and single dashes between them' },
      { field: 'environment', problem: 'is required' },
      { field: 'isolation', problem: 'takes isolated, database or schema' },
      { field: 'metadata.region', problem: expect.stringContaining('expected string') },
      { field: 'owner.email', problem: 'is no email address' },
      { field: 'owner.emailVerified', problem: expect.stringContaining('expected boolean') },
    ]);
  });

  test.each([
    ['name', { name: 'Acme\0Ltd' }],
    ['name', { name: 'Acme \u001b[31mLtd' }],
    ['name', { name: 'Acme \ud800' }],
    ['environment', { environment: 'te\0st' }],
    ['slug', { slug: 'a\0' }],
    ['owner.email', { owner: { email: 'a\0@example.com', emailVerified: true } }],
    ['metadata.region', { metadata: { region: 'e\0u' } }],
    ['name', { name: 'Acme \u202egnp.exe' }],
    ['environment', { environment: 'test\u2066' }],
    ['metadata.region', { metadata: { region: '\ud800' } }],
    ['metadata.a\0', { metadata: { 'a\0': 'eu' } }],
  ])(
    'what PostgreSQL cannot keep, or nobody sees, in %s is the client’s fault, not a failure of the server',
    async (field, part) => {
      const { status, body } = await manager.call('POST', '/v1/tenants', { ...validTenant(), ...part });
      expect([status, body.code, body.problems?.map((problem: { field: string }) => problem.field)]).toEqual([
        400,
        'INVALID_REQUEST',
        [field],
      ]);
    },
  );

  test('an invalid association: 400 with every problem named, and nothing is created', async () => {
    const id = await manager.create();
    const { status, body } = await associate(id, { isolationMode: 'shared', maxOpenConns: 2, maxIdleConns: 3 });
    expect(status).toBe(400);
    expect(body.problems).toEqual([
      { field: 'isolationMode', problem: 'takes isolated, database or schema' },
      { field: 'maxIdleConns', problem: 'must not exceed maxOpenConns' },
    ]);
    expect((await connections(id)).body.code).toBe('ASSOCIATION_NOT_FOUND');
  });

  test('bodies that are no object, no JSON, too large or of another type', async () => {
    const post = (body: unknown, headers = {}) => manager.call('POST', '/v1/tenants', body, headers);
    expect((await post('[]')).body.problems).toHaveLength(1);
    expect((await post(undefined)).body.problems).toEqual([{ field: 'body', problem: 'is required' }]);
    expect(await post('{"name":')).toMatchObject({ status: 400, body: { code: 'INVALID_REQUEST' } });
    expect(await post(JSON.stringify({ name: 'x'.repeat(70_000) }))).toMatchObject({ status: 413 });
    expect(await post('name=x', { 'content-type': 'application/x-www-form-urlencoded' })).toMatchObject({
      status: 415,
    });
    for (const body of ['[]', '{"name":', 'null', '7', '{"__proto__":{}}']) {
      expect(Object.keys((await post(body)).body)).toEqual(expect.arrayContaining(['code', 'error']));
      expect(JSON.stringify((await post(body)).body)).not.toMatch(/stack|node_modules/);
    }
  });

  test('a service that is not served here', async () => {
    const id = await manager.create();
    const problems = [{ field: 'service', problem: 'is unknown; this Tenant Manager serves matcher' }];
    for (const [method, path] of [
      ['POST', `/v1/tenants/${id}/associations/ledger`],
      ['GET', `/v1/tenants/${id}/associations/ledger/connections`],
      ['GET', '/v1/tenants/active?service=ledger'],
    ] as const) {
      expect(await manager.call(method, path)).toMatchObject({ status: 400, body: { problems } });
    }
    expect((await manager.call('GET', '/v1/tenants/active')).body.problems[0].problem).toBe('is required');
  });

  test('a tenant that nobody created is not found, whatever is asked of it', async () => {
    const id = randomUUID();
    for (const [method, path, body] of [
      ['GET', `/v1/tenants/${id}`],
      ['POST', `/v1/tenants/${id}/associations/matcher`, { isolationMode: 'isolated' }],
      ['GET', `/v1/tenants/${id}/associations/matcher/connections`],
      ['PUT', `/v1/tenants/${id}/associations/matcher/suspend`],
      ['PUT', `/v1/tenants/${id}/suspend`],
      ['PUT', `/v1/tenants/${id}/reactivate`],
    ] as const) {
      const answer = await manager.call(method, path, body);
      expect(answer, `${method} ${path}`).toMatchObject({ status: 404, body: { code: 'TENANT_NOT_FOUND' } });
    }
  });

  test('a path that cannot be decoded', async () => {
    const path = '/v1/tenants/%E0%A4%A';
    expect(await manager.call('GET', path)).toMatchObject({ status: 400, body: { code: 'INVALID_REQUEST' } });
    expect((await manager.call('GET', path, undefined, { 'x-api-key': 'wrong' })).status).toBe(401);
  });

  test.each(['%7B6b1f%7D', 'a%2Fb', '-a', 'a%00', 'a'.repeat(257)])('%s is no tenant identifier', async (id) => {
    expect(await manager.call('GET', `/v1/tenants/${id}`)).toMatchObject({
      status: 400,
      body: { code: 'INVALID_TENANT' },
    });
  });
});

describe('tenants', () => {
  test('a new tenant gets a UUID and a slug, and is described with its metadata', async () => {
    const body = { ...validTenant(), name: 'Café Zürich & Söhne', metadata: { region: 'eu' }, unknown: 1 };
    const created = await manager.call('POST', '/v1/tenants', { ...body, owner: { ...body.owner, passwordHash: 'h' } });
    expect(created).toEqual({
      status: 201,
      body: {
        id: expect.stringMatching(/^[0-9a-f]{32}$/),
        slug: expect.stringMatching(/^cafe-zurich-sohne-[0-9a-f]{8}$/),
        status: 'active',
      },
    });
    const described = await manager.call('GET', `/v1/tenants/${created.body.id}`);
    expect(described.body).toMatchObject({ ...created.body, metadata: { region: 'eu' }, associations: [] });
    expect(JSON.stringify(described.body)).not.toContain('passwordHash');
  });

  test('both spellings of a UUID are one tenant', async () => {
    const dashed = randomUUID().toUpperCase();
    const id = await manager.create(dashed);
    expect(id).toBe(dashed.replaceAll('-', '').toLowerCase());
    expect((await manager.call('GET', `/v1/tenants/${dashed}`)).body.id).toBe(id);
    const again = await manager.call('POST', '/v1/tenants', { ...validTenant(), id: id.toUpperCase() });
    expect(again).toMatchObject({ status: 409, body: { code: 'TENANT_EXISTS' } });
  });

  test('a slug that is taken: 409', async () => {
    const slug = `slug-${randomUUID().slice(0, 8)}`;
    const statuses = [];
    for (let i = 0; i < 2; i++) {
      statuses.push((await manager.call('POST', '/v1/tenants', { ...validTenant(), slug })).status);
    }
    expect(statuses).toEqual([201, 409]);
  });
});

describe('the life of an association', () => {
  test('associated, suspended, reactivated', async () => {
    const id = await manager.create();
    expect((await connections(id)).status).toBe(404);
    expect(await activeIds()).not.toContain(id);

    const limits = { maxOpenConns: 7, maxIdleConns: 0 };
    const answer = await associate(id, { isolationMode: 'database', ...limits });
    expect(answer).toEqual({ status: 201, body: { serviceName: 'matcher', status: 'active' } });
    expect(await associate(id)).toMatchObject({ status: 409, body: { code: 'ASSOCIATION_EXISTS' } });
    expect(await activeIds()).toContain(id);
    const configured = (await connections(id)).body;
    expect(configured).toMatchObject({ id, service: 'matcher', status: 'active', isolationMode: 'database' });
    expect(configured.databases.matcher.connectionSettings).toEqual(limits);

    for (let repeated = 0; repeated < 2; repeated++) {
      expect(await suspend(id)).toEqual({ status: 200, body: { serviceName: 'matcher', status: 'suspended' } });
    }
    expect(await connections(id)).toMatchObject({ status: 403, body: { code: '0131', status: 'suspended' } });
    expect(await activeIds()).not.toContain(id);

    // A client that names a content type without sending a body.
    expect(await manager.call('PUT', `/v1/tenants/${id}/reactivate`, '')).toMatchObject({
      status: 200,
      body: { id, status: 'active' },
    });
    expect((await connections(id)).body).toMatchObject(configuredAgain(configured));
    expect(await activeIds()).toContain(id);
  });

  test.each([{}, { isolationMode: '' }])('%j says nothing of the isolation mode: it is the tenant’s', async (body) => {
    const create = (isolation: string) => manager.call('POST', '/v1/tenants', { ...validTenant(), isolation });
    for (const isolation of ['schema', 'database']) {
      const { id } = (await create(isolation)).body;
      expect(await associate(id, body)).toMatchObject({ status: 201 });
      expect((await connections(id)).body.isolationMode).toBe(isolation);
    }
  });

  test('a suspended tenant is served by no service until it is reactivated', async () => {
    const { tenantId: id } = await manager.onboard();
    expect(await manager.call('PUT', `/v1/tenants/${id}/suspend`)).toMatchObject({
      status: 200,
      body: { id, status: 'suspended' },
    });
    expect(await connections(id)).toMatchObject({ status: 403, body: { code: '0131', status: 'suspended' } });
    expect(await activeIds()).not.toContain(id);
    await reactivate(id);
    expect(await activeIds()).toContain(id);
  });

  test('a list of all says what has become of those that are not active', async () => {
    const [suspended, stopped, deleted, served] = await Promise.all([1, 2, 3, 4].map(() => manager.onboard()));
    const without = (await manager.call('POST', '/v1/tenants', validTenant())).body.id;
    await manager.call('PUT', `/v1/tenants/${suspended?.tenantId}/suspend`);
    await manager.call('PUT', `/v1/tenants/${stopped?.tenantId}/associations/matcher/suspend`);
    await manager.call('DELETE', `/v1/tenants/${deleted?.tenantId}`);
    const { body } = await manager.call('GET', '/v1/tenants?service=matcher');
    const statusOf = (id?: string) => body.find((one: { id: string }) => one.id === id)?.status;
    const ids = [suspended, stopped, deleted, served].map((one) => one?.tenantId);
    expect([...ids, without].map(statusOf)).toEqual(['suspended', 'suspended', 'deleted', 'active', null]);
    expect((await manager.call('GET', '/v1/tenants')).status).toBe(400);
  });
});

/** The same configuration, whenever it was changed. */
function configuredAgain({ updatedAt: _, ...rest }: Record<string, unknown>) {
  return rest;
}
