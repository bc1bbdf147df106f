import { createTenantManagerClient, type TenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configured, json, type ManagerStandIn, startManagerStandIn } from '../../support/manager-stand-in.ts';

const tenantId = canonicalTenantId('acme');
const newTenant = { name: 'Acme', environment: 'test', isolation: 'isolated', owner: { email: 'ops@acme.example' } };

let manager: ManagerStandIn;
let client: TenantManagerClient;
beforeEach(async () => {
  manager = await startManagerStandIn();
  client = createTenantManagerClient(manager.settings());
});
afterEach(() => manager.close());

const calls: [string, (own: TenantManagerClient) => Promise<unknown>, string, object | undefined][] = [
  [
    'associate',
    (own) => own.associate(tenantId, { isolationMode: 'isolated', maxOpenConns: 9 }),
    'POST /v1/tenants/acme/associations/matcher',
    { isolationMode: 'isolated', maxOpenConns: 9 },
  ],
  ['suspend', (own) => own.suspend(tenantId), 'PUT /v1/tenants/acme/associations/matcher/suspend', undefined],
  ['reactivate', (own) => own.reactivate(tenantId), 'PUT /v1/tenants/acme/reactivate', undefined],
];
const extensions: typeof calls = [
  [
    'rotateCredentials',
    (own) => own.rotateCredentials(tenantId),
    'POST /v1/tenants/acme/associations/matcher/credentials/rotate',
    {},
  ],
  [
    'changeLimits',
    (own) => own.changeLimits(tenantId, { maxOpenConns: 12, statementTimeout: '30s', maxIdleConns: null }),
    'PUT /v1/tenants/acme/associations/matcher/connection-settings',
    { maxOpenConns: 12, statementTimeout: '30s', maxIdleConns: null },
  ],
  ['disassociate', (own) => own.disassociate(tenantId), 'DELETE /v1/tenants/acme/associations/matcher', undefined],
];

test.each([...calls, ...extensions])('%s is the contract’s request', async (_name, call, request, body) => {
  manager.respond = json(200, { serviceName: 'matcher', status: 'active' });
  await call(client);
  const [sent] = manager.requests;
  expect(`${sent?.method} ${sent?.url}`).toBe(request);
  expect(sent?.body).toBe(body ? JSON.stringify(body) : '');
  expect(sent?.headers['content-type']).toBe(body ? 'application/json' : undefined);
});

test.each(extensions)('%s says how the tenant’s service is now', async (_name, call) => {
  manager.respond = json(200, { serviceName: 'matcher', status: 'active', more: 1 });
  expect(await call(client)).toEqual({ serviceName: 'matcher', status: 'active' });
});

test('a rotation may be of one kind of credentials', async () => {
  manager.respond = json(200, { serviceName: 'matcher', status: 'active' });
  await client.rotateCredentials(tenantId, 'broker');
  expect(manager.requests[0]?.body).toBe('{"credentialType":"broker"}');
});

test('a created tenant’s id is in canonical form; an answer without one is no creation', async () => {
  const id = '0190C6E2-A4B8-7F3D-9C2B-5E8A1D4F7B60';
  manager.respond = json(201, { id, slug: 'acme', status: 'active' });
  expect((await client.create(newTenant)).id).toBe('0190c6e2a4b87f3d9c2b5e8a1d4f7b60');
  manager.respond = json(201, { id: `urn:uuid:${id}`, slug: 'acme', status: 'active' });
  await expect(client.create(newTenant)).rejects.toMatchObject({
    code: 'TENANT_MANAGER_UNAVAILABLE',
    message: 'The Tenant Manager sent an answer without a valid id',
  });
});

test('what exists already is told from everything else that is in the way', async () => {
  manager.respond = json(409, { error: 'A tenant with this id or slug exists' });
  await expect(client.create(newTenant)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  await expect(client.associate(tenantId, { isolationMode: 'isolated' })).rejects.toMatchObject({
    code: 'ALREADY_EXISTS',
  });
  await expect(client.rotateCredentials(tenantId)).rejects.toMatchObject({ code: 'TENANT_MANAGER_REFUSED' });
});

test.each([...calls, ...extensions])(
  'after %s nothing that was known before it is used unasked',
  async (_name, call) => {
    manager.respond = configured();
    await client.config(tenantId);
    manager.respond = json(200, { serviceName: 'matcher', status: 'active' });
    await call(client);
    manager.respond = configured('changed');
    expect((await client.config(tenantId)).slug).toBe('changed');
  },
);

test('a tenant that was asked for before it was created can be used as soon as it is', async () => {
  manager.respond = json(404, '');
  await expect(client.config(tenantId)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
  manager.respond = json(201, { id: tenantId, slug: 'acme', status: 'active' });
  await client.create(newTenant);
  manager.respond = configured();
  await client.config(tenantId);
});

describe('a Tenant Manager of somebody else’s', () => {
  test.each(extensions)('that lacks %s is not taken for one that lacks the tenant', async (_name, call, request) => {
    for (const respond of [json(404, '404 page not found'), json(404, { code: 'NOT_FOUND' }), json(405, '')]) {
      manager.respond = respond;
      await expect(call(client)).rejects.toMatchObject({
        code: 'TENANT_MANAGER_LACKS_CALL',
        message: expect.stringContaining(request),
        hint: expect.stringContaining('extension'),
      });
    }
  });

  test.each(['TENANT_NOT_FOUND', 'ASSOCIATION_NOT_FOUND'])('our own says %s where it is the tenant', async (code) => {
    manager.respond = json(404, { code, error: 'There is no such tenant' });
    await expect(client.rotateCredentials(tenantId)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
  });
});
