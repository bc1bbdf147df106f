import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  connectionsOf,
  json,
  type ManagerStandIn,
  standInPassword,
  startManagerStandIn,
} from '../../support/manager-stand-in.ts';
import { testLog } from '../../support/test-log.ts';

let manager: ManagerStandIn;
beforeEach(async () => {
  manager = await startManagerStandIn();
});
afterEach(() => manager.close());

const client = () => createTenantManagerClient(manager.settings());

describe('two tenants with one vhost', () => {
  const [first, second, third] = ['first', 'second', 'third'].map(canonicalTenantId) as [TenantId, TenantId, TenantId];
  const taken = { code: 'VHOST_OF_ANOTHER_TENANT', remedy: 'not-now', message: expect.stringContaining(first) };
  /** Which vhost each tenant has; without one, it is unknown. */
  let vhosts: Map<string, { vhost?: string; host?: string; port?: number }>;
  beforeEach(() => {
    vhosts = new Map([first, second].map((id) => [id, { vhost: 'shared' }]));
    manager.respond = (request, response) => {
      const id = /tenants\/(\w+)\//.exec(request.url ?? '')?.[1] ?? '';
      const { databases, rabbitmq, ...rest } = connectionsOf(id);
      const own = vhosts.get(id);
      const body = { ...rest, databases, rabbitmq: { matcher: { ...rabbitmq.matcher, ...own } } };
      (own ? json(200, body) : json(404, { code: 'TENANT_NOT_FOUND' }))(request, response);
    };
  });

  test('the second is refused, and said to be; the first goes on', async () => {
    const { log, lines } = testLog();
    const { config, refresh } = createTenantManagerClient(manager.settings(), { log });
    await config(first);
    await expect(config(second)).rejects.toMatchObject(taken);
    await expect(refresh(second)).rejects.toMatchObject(taken);
    expect(await refresh(first)).toMatchObject({ rabbitmq: { vhost: 'shared' } });
    const said = lines.map((line) => JSON.parse(line)).filter(({ code }) => code === taken.code);
    expect(said[0]).toMatchObject({ level: 'warn', tenantId: second, msg: 'a tenant has no vhost of its own' });
    expect(lines.join()).not.toContain(standInPassword);
  });

  test.each([
    ['host, whatever its case', { vhost: 'shared', host: 'BROKER' }, taken],
    ['port', { vhost: 'shared', port: 5672 }, undefined],
    ['name, whose case counts', { vhost: 'Shared' }, undefined],
    ['host', { vhost: 'shared', host: 'other' }, undefined],
  ])('it is the same by its %s', async (_what, own, expected) => {
    const { config } = client();
    await config(first);
    vhosts.set(second, own);
    if (expected) await expect(config(second)).rejects.toMatchObject(expected);
    else expect((await config(second)).tenantId).toBe(second);
  });

  test.each<[string, () => void]>([
    ['has moved away', () => vhosts.set(first, { vhost: 'elsewhere' })],
    ['is gone', () => vhosts.delete(first)],
  ])('the second gets it once the first %s', async (_what, change) => {
    const { config, refresh } = client();
    await config(first);
    await expect(config(second)).rejects.toMatchObject(taken);
    change();
    expect(await refresh(second)).toMatchObject({ rabbitmq: { vhost: 'shared' } });
  });

  test('while nobody can say where the first is now, the vhost stays its own', async () => {
    const { config, refresh } = client();
    await config(first);
    const { respond } = manager;
    manager.respond = (request, response) =>
      request.url?.includes(first) ? json(503, '')(request, response) : respond(request, response);
    await expect(refresh(second)).rejects.toMatchObject(taken);
    expect((await config(first)).tenantId).toBe(first);
  });

  test('two that change places both come to theirs', async () => {
    vhosts.set(second, { vhost: 'other' });
    const { config, refresh } = client();
    await Promise.all([config(first), config(second)]);
    vhosts.set(first, { vhost: 'other' }).set(second, { vhost: 'shared' });
    expect((await refresh(first)).rabbitmq.vhost).toBe('other');
    expect((await refresh(second)).rabbitmq.vhost).toBe('shared');
    vhosts.set(third, { vhost: 'shared' });
    await expect(config(third)).rejects.toMatchObject({ ...taken, message: expect.stringContaining(second) });
  });
});
