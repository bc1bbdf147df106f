import { randomUUID } from 'node:crypto';
import { on } from 'node:events';
import { lifecycleChannel, lifecycleEvent } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Fixture, startFixture } from '../support/tenant-manager.ts';

// Provisioning waits for the servers' disks, and dropping a database for a checkpoint.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 60_000 });

let manager: Fixture;
let redis: Redis;
let messages: AsyncIterator<[string, string]>;

beforeAll(async () => {
  manager = await startFixture();
  redis = new Redis({
    host: manager.settings.MULTI_TENANT_REDIS_HOST as string,
    port: manager.settings.MULTI_TENANT_REDIS_PORT,
    ...(manager.settings.MULTI_TENANT_REDIS_PASSWORD ? { password: manager.settings.MULTI_TENANT_REDIS_PASSWORD } : {}),
  });
  messages = on(redis, 'message')[Symbol.asyncIterator]() as AsyncIterator<[string, string]>;
  await redis.subscribe(lifecycleChannel(manager.settings.MULTI_TENANT_ENVIRONMENT as string));
});
afterAll(async () => {
  redis.disconnect();
  await manager.close();
});

async function nextEvent() {
  const [channel, text] = (await messages.next()).value as [string, string];
  expect(channel).toBe(`tenant-events:${manager.settings.MULTI_TENANT_ENVIRONMENT}:`);
  const event = JSON.parse(text);
  expect(lifecycleEvent.safeParse(event).success).toBe(true);
  return event;
}

test('every change is announced, in order, with the contract’s envelope and payload', async () => {
  const dashed = randomUUID().toUpperCase();
  const id = await manager.create(dashed);
  const created = await nextEvent();
  expect(created).toEqual({
    event_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    event_type: 'tenant.created',
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    tenant_id: dashed.replaceAll('-', '').toLowerCase(),
    tenant_slug: expect.stringContaining('blue-harbour-ltd-'),
    environment: manager.settings.MULTI_TENANT_ENVIRONMENT,
  });

  await manager.call('POST', `/v1/tenants/${dashed}/associations/matcher`, {
    isolationMode: 'isolated',
    maxOpenConns: 9,
  });
  const connection_settings = { max_open_conns: 9, max_idle_conns: 0 };
  const associated = await nextEvent();
  expect(associated).toMatchObject({ event_type: 'tenant.service.associated', tenant_id: id });
  expect(associated.payload).toEqual({
    service_name: 'matcher',
    isolation_mode: 'isolated',
    modules: ['matcher'],
    connection_settings,
  });

  await manager.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`);
  const suspended = await nextEvent();
  expect(suspended).toMatchObject({ event_type: 'tenant.service.suspended', tenant_id: id });
  expect(suspended.payload).toEqual({ service_name: 'matcher', previous_status: 'active' });

  // Nothing changes, so nothing is announced: the next event is the reactivation's.
  await manager.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`);
  await manager.call('PUT', `/v1/tenants/${id}/reactivate`);
  const reactivated = await nextEvent();
  expect(reactivated).toMatchObject({ event_type: 'tenant.service.reactivated', tenant_id: id });
  expect(reactivated.payload).toEqual({
    service_name: 'matcher',
    previous_status: 'suspended',
    re_provisioned: false,
    connection_settings,
  });

  await manager.call('PUT', `/v1/tenants/${id}/suspend`);
  expect(await nextEvent()).toMatchObject({ event_type: 'tenant.suspended', tenant_id: id });
  await manager.call('PUT', `/v1/tenants/${id}/reactivate`);
  expect(await nextEvent()).toMatchObject({ event_type: 'tenant.activated', tenant_id: id });

  const times = [created, associated, suspended, reactivated].map((event) => Date.parse(event.timestamp));
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  const { postgres, rabbitmq } = await manager.connections(id);
  const announced = JSON.stringify([created, associated, suspended, reactivated]);
  expect(announced).not.toContain(postgres.password);
  expect(announced).not.toContain(rabbitmq.password);
});

test('rotation, limits and removal are announced once each, without passwords', async () => {
  const id = await manager.create();
  const path = `/v1/tenants/${id}/associations/matcher`;
  await manager.call('POST', path, { isolationMode: 'schema' });
  const expected = async (type: string, payload?: object) => {
    const event = await nextEvent();
    expect(event).toMatchObject({ event_type: type, tenant_id: id });
    expect(event.payload).toEqual(payload);
    return event;
  };
  const service_name = 'matcher';
  await expected('tenant.created');
  await expected('tenant.service.associated', { service_name, isolation_mode: 'schema', modules: ['matcher'] });

  const rotated = (credential_type: string) =>
    expected('tenant.credentials.rotated', { service_name, credential_type, new_secret_path: '' });
  await manager.rotate(id);
  const events = [await rotated('database'), await rotated('broker')];
  await manager.rotate(id, 'broker');
  events.push(await rotated('broker'));
  const { postgres, rabbitmq } = await manager.connections(id);
  for (const { password } of [postgres, rabbitmq]) expect(JSON.stringify(events)).not.toContain(password);

  const module = 'matcher';
  await manager.limits(id, { maxOpenConns: 6, statementTimeout: '5s' });
  const limits = { max_open_conns: 6, max_idle_conns: 0, statement_timeout: '5000ms' };
  await expected('tenant.connections.updated', { service_name, module, ...limits });
  await manager.limits(id, { maxOpenConns: null, statementTimeout: null });
  await expected('tenant.connections.updated', { service_name, module, max_open_conns: 0, max_idle_conns: 0 });

  for (let repeated = 0; repeated < 2; repeated++) await manager.remove(id);
  await expected('tenant.service.disassociated', { service_name, preserve_data: true });
  await manager.call('POST', path, { isolationMode: 'schema' });
  await expected('tenant.service.associated', { service_name, isolation_mode: 'schema', modules: ['matcher'] });
  await manager.remove(id);
  await expected('tenant.service.disassociated', { service_name, preserve_data: true });
  for (let repeated = 0; repeated < 2; repeated++) await manager.call('DELETE', `${path}?purge=true`);
  await expected('tenant.service.purged', { service_name });
  for (let repeated = 0; repeated < 2; repeated++) await manager.call('DELETE', `/v1/tenants/${id}`);
  await expected('tenant.deleted');
  await manager.reactivate(id);
  await expected('tenant.activated');
});

test('with Redis away the request succeeds and the loss is logged', async () => {
  // A port where nobody listens: the Tenant Manager's own settings, with port 1.
  const deaf = await startFixture({ MULTI_TENANT_REDIS_HOST: '127.0.0.1', MULTI_TENANT_REDIS_PORT: '1' });
  const id = await deaf.create();
  expect((await deaf.call('GET', `/v1/tenants/${id}`)).status).toBe(200);
  expect(deaf.log()).toContain('lifecycle event lost');
  await deaf.close();
});
