import { afterAll, beforeAll, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';

let fleet: TestFleet;

beforeAll(async () => {
  // No comparison with the list helps out here: what is found is found by the event.
  fleet = await startFleet({ overrides: { MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600' } });
  await until(() => fleet.lines.some((line) => line.includes('subscribed to tenant events')));
});
afterAll(() => fleet?.close());

test('a tenant that comes while the fleet runs has its first job done within two seconds of its event', async () => {
  const announced = Date.now();
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  // Measured from before the tenant was even provisioned.
  expect(Date.now() - announced).toBeLessThan(2000 + 3000);
  const started = fleet.lines.filter((line) => line.includes(tenant.id) && line.includes('"msg":"consuming"'));
  const done = fleet.lines.filter((line) => line.includes(tenant.id) && line.includes('"msg":"job done"'));
  const at = (line: string | undefined) => Date.parse(JSON.parse(line as string).time);
  expect(at(done[0]) - at(started[0])).toBeLessThan(2000);
});

test('suspended: no job is begun, its messages wait; reactivated: they are worked off', async () => {
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  await fleet.manager.call('PUT', `/v1/tenants/${tenant.id}/associations/matcher/suspend`);
  await until(() => fleet.lines.some((line) => line.includes(tenant.id) && line.includes('"msg":"stopped consuming"')));
  const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
  expect(await tenant.client.read(id)).toBeUndefined();
  await fleet.manager.call('PUT', `/v1/tenants/${tenant.id}/reactivate`);
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
});

test('a job published before any worker knew the tenant waits in its queue and is done', async () => {
  const own = await startFleet({ workers: 0 });
  try {
    const tenant = await own.tenant();
    const id = await tenant.client.publish('context.apply', { version: 1, context: simpleContext() });
    await own.worker();
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  } finally {
    await own.close();
  }
});
