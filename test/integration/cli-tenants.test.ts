import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { matcher } from '../support/matcher.ts';
import { type Fixture, openVhost, queryAs, startFixture } from '../support/tenant-manager.ts';

let manager: Fixture;

beforeAll(async () => {
  manager = await startFixture();
});
afterAll(() => manager.close());

beforeEach(() => {
  vi.stubEnv('MULTI_TENANT_URL', manager.address);
  vi.stubEnv('MULTI_TENANT_SERVICE_API_KEY', manager.settings.MULTI_TENANT_SERVICE_API_KEY ?? '');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function json(...args: string[]) {
  const { status, stdout, stderr } = await matcher(['tenant', ...args, '--json']);
  expect([status, stderr], stdout).toEqual([0, '']);
  return JSON.parse(stdout);
}

const owner = ['--email', 'ops@acme.example'];

test('created in a schema, limited, rotated, removed and brought back: each says what it did', async () => {
  const created = await json('create', 'Acme', ...owner, '--isolation', 'schema');
  const { id } = created;
  const first = await manager.connections(id);
  const { database, schema } = first.postgres;
  expect(created).toMatchObject({ status: 'active', database, schema, vhost: first.rabbitmq.vhost });

  const given = ['--max-open-conns', '6', '--statement-timeout', '20s'];
  const changed = { maxOpenConns: 6, statementTimeout: '20s' };
  expect(await json('limits', id, ...given)).toEqual({ id, status: 'active', changed });
  const taken = ['--max-open-conns', 'default', '--max-idle-conns', '2'];
  expect((await json('limits', id, ...taken)).changed).toEqual({ maxOpenConns: null, maxIdleConns: 2 });
  const { body } = await manager.call('GET', `/v1/tenants/${id}/associations/matcher/connections`);
  expect(body.databases.matcher.connectionSettings).toEqual({
    maxOpenConns: 0,
    maxIdleConns: 2,
    statementTimeout: '20000ms',
  });

  expect(await json('rotate', id, '--database')).toEqual({ id, status: 'active', rotated: ['database'] });
  const second = await manager.connections(id);
  expect(second.rabbitmq).toEqual(first.rabbitmq);
  expect(second.postgres.password).not.toBe(first.postgres.password);
  expect((await json('rotate', id, '--broker')).rotated).toEqual(['broker']);
  for (const flags of [[], ['--database', '--broker']]) {
    expect((await json('rotate', id, ...flags)).rotated).toEqual(['database', 'broker']);
  }
  const last = await manager.connections(id);
  await queryAs(last.postgres, manager.settings, 'CREATE TABLE ledger ()');
  await (await openVhost(last.rabbitmq)).close();

  const removed = await matcher(['tenant', 'remove', id]);
  expect(removed).toMatchObject({ status: 0, stdout: expect.stringContaining('stay as they are') });
  expect(await json('remove', id)).toEqual({ id, status: 'disassociated' });
  expect((await json('list')).tenants.map((tenant: { id: string }) => tenant.id)).not.toContain(id);
  await json('create', 'Acme', ...owner, '--isolation', 'schema', '--id', id);
  await queryAs((await manager.connections(id)).postgres, manager.settings, 'SELECT FROM ledger');
});

test.each(['rotate', 'limits', 'remove'])('%s of a tenant that nobody created: status 1', async (command) => {
  const { status, stdout } = await matcher([
    'tenant',
    command,
    'nobody',
    ...(command === 'limits' ? ['--max-open-conns', '3'] : []),
    '--json',
  ]);
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'TENANT_NOT_FOUND' } });
});
