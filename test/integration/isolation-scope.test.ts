import { randomUUID } from 'node:crypto';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { type RunningWorker, startWorker } from '@matcher/shared/process/run-worker.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { TenantScope } from '@matcher/shared/tenancy/tenant-scope.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { asAdministrator, openVhost, queryAs } from '../support/tenant-manager.ts';

/** What a handler can do with the scope that a real worker gives it. */

let fleet: TestFleet;
let worker: RunningWorker;
let tenant: TestTenant;
let other: TestTenant;
/** The scope of `tenant`, kept open by a job that does not end before the tests do. */
let scope: TenantScope;
let endJob: () => void;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  [tenant, other] = await Promise.all([fleet.tenant(), fleet.tenant()]);
  await queryAs(other.config.postgres, fleet.settings, 'CREATE TABLE secrets AS SELECT 1 AS id');
  await other.objects.put('secret.csv', 'of another');
  const entered = Promise.withResolvers<TenantScope>();
  const ended = Promise.withResolvers<void>();
  endJob = ended.resolve;
  const attacker: JobDefinition<'matching.run'> = {
    type: 'matching.run',
    async run(_job, given) {
      entered.resolve(given);
      await ended.promise;
      throw new Error('the tests are done');
    },
  };
  worker = await startWorker('attacker', [attacker], fleet.settings, fleet.log);
  await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
  scope = await entered.promise;
});
afterAll(async () => {
  endJob?.();
  await worker?.stop();
  await fleet?.close();
});

describe('the scope', () => {
  test('is that of the tenant in whose vhost the job was, and cannot be made another’s', () => {
    expect([scope.tenantId, scope.slug]).toEqual([tenant.id, tenant.config.slug]);
    expect(Object.isFrozen(scope)).toBe(true);
    expect(() => Object.assign(scope, { tenantId: other.id })).toThrow(TypeError);
    expect(() => Object.assign(scope, { db: undefined })).toThrow(TypeError);
  });

  test('has nothing that names a tenant, a prefix, a connection, a bucket or a pool to choose', () => {
    expect(Object.keys(scope).toSorted()).toEqual([
      'db',
      'log',
      'objects',
      'publish',
      'redis',
      'slug',
      'snapshot',
      'tenantId',
    ]);
    expect(Object.keys(scope.db).toSorted()).toEqual(['query', 'snapshot', 'transaction']);
    expect(Object.keys(scope.redis).toSorted()).toEqual(['delete', 'get', 'set']);
    expect(Object.keys(scope.objects).toSorted()).toEqual([
      'delete',
      'get',
      'list',
      'presign',
      'put',
      'size',
      'upload',
    ]);
  });
});

describe('the database refuses the tenant’s role', () => {
  const outside = `/tmp/matcher-${randomUUID()}`;
  const refused: [string, () => string][] = [
    ['to run a program of the server', () => `COPY (SELECT 1) TO PROGRAM 'cat > ${outside}'`],
    ['to read from a program of the server', () => `COPY jobs (id) FROM PROGRAM 'id'`],
    ['to write a file of the server', () => `COPY (SELECT 1) TO '${outside}'`],
    ['to read a file of the server with COPY', () => `COPY jobs (id) FROM '/etc/passwd'`],
    ['to read a file of the server with pg_read_file', () => `SELECT pg_read_file('/etc/passwd')`],
    ['to list files of the server', () => `SELECT pg_ls_dir('.')`],
    ['to read a file of the server into a large object', () => `SELECT lo_import('/etc/passwd')`],
    ['to write a large object into a file of the server', () => `SELECT lo_export(1, '${outside}')`],
    ['to create a role', () => 'CREATE ROLE another'],
    ['to create a database', () => 'CREATE DATABASE another'],
    ['to become a superuser', () => `ALTER ROLE "${tenant.config.postgres.user}" SUPERUSER`],
    ['to bypass row security', () => `ALTER ROLE "${tenant.config.postgres.user}" BYPASSRLS`],
    ['to become another tenant’s role', () => `SET ROLE "${other.config.postgres.user}"`],
    ['to become another tenant’s user', () => `SET SESSION AUTHORIZATION "${other.config.postgres.user}"`],
    [
      'to make itself a member of another tenant’s role',
      () => `GRANT "${other.config.postgres.user}" TO "${tenant.config.postgres.user}"`,
    ],
    ['to change another tenant’s password', () => `ALTER ROLE "${other.config.postgres.user}" PASSWORD 'mine'`],
    ['to drop another tenant’s database', () => `DROP DATABASE "${other.config.postgres.database}"`],
    [
      'to open another tenant’s database to all',
      () => `GRANT ALL ON DATABASE "${other.config.postgres.database}" TO PUBLIC`,
    ],
    ['to rename another tenant’s database', () => `ALTER DATABASE "${other.config.postgres.database}" RENAME TO mine`],
    ['to change the server’s settings', () => `ALTER SYSTEM SET log_statement = 'all'`],
    ['to read passwords', () => 'SELECT rolpassword FROM pg_authid'],
    ['to read the server’s access rules', () => 'SELECT * FROM pg_hba_file_rules'],
    [
      'to subscribe to another database',
      () => `CREATE SUBSCRIPTION s CONNECTION 'dbname=${other.config.postgres.database}' PUBLICATION p`,
    ],
    ['to hold the server’s log back', () => `SELECT pg_create_physical_replication_slot('held')`],
    ['to define a function in C', () => `CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc.so.6', 'getpid'`],
    ['to make a tablespace', () => `CREATE TABLESPACE t LOCATION '/tmp'`],
    ['to connect to other servers', () => 'CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw'],
  ];
  test.each(refused)('%s', async (_what, sql) => {
    const code = expect.stringMatching(/^(42501|42704|25001|0A000)$/);
    await expect(scope.db.query(sql())).rejects.toMatchObject({ code });
  });

  test.each(['dblink', 'postgres_fdw', 'file_fdw', 'adminpack', 'plpython3u', 'plperlu'])(
    'the extension %s, which leads out of a database',
    async (name) => {
      await expect(scope.db.query(`CREATE EXTENSION ${name}`)).rejects.toMatchObject({
        // Not allowed, or not even installed on the server.
        code: expect.stringMatching(/^(42501|0A000|58P01)$/),
      });
    },
  );

  test('to end another tenant’s connections', async () => {
    const held = await other.hold('secrets');
    const [{ pid }] = await asAdministrator(
      fleet.manager.settings,
      'SELECT pid::text AS pid FROM pg_stat_activity WHERE datname = $1 LIMIT 1',
      [other.config.postgres.database],
    );
    await expect(scope.db.query(`SELECT pg_terminate_backend(${pid})`)).rejects.toMatchObject({ code: '42501' });
    await expect(scope.db.query(`SELECT pg_cancel_backend(${pid})`)).rejects.toMatchObject({ code: '42501' });
    const [seen] = await scope.db.query<{ query: string }>('SELECT query FROM pg_stat_activity WHERE pid = $1', [pid]);
    expect(seen?.query).toBe('<insufficient privilege>');
    await held.release();
  });
});

test.each(['the other tenant’s', 'postgres', 'template1', 'the Tenant Manager’s'])(
  'the tenant’s role cannot connect to another database: %s',
  async (which) => {
    const databases: Record<string, string> = {
      'the other tenant’s': other.config.postgres.database,
      'the Tenant Manager’s': fleet.manager.settings.POSTGRES_DB as string,
    };
    const database = databases[which] ?? which;
    await expect(queryAs({ ...tenant.config.postgres, database }, fleet.settings, 'SELECT 1')).rejects.toMatchObject({
      code: '42501',
    });
  },
);

test('a statement that names another tenant’s database as a catalog does not reach it', async () => {
  const named = scope.db.query(`SELECT * FROM "${other.config.postgres.database}".public.secrets`);
  await expect(named).rejects.toMatchObject({ code: '0A000' });
  await expect(scope.db.query('SELECT * FROM secrets')).rejects.toMatchObject({ code: '42P01' });
});

test('keys and objects of the scope are the tenant’s own, in multi-tenant mode never without a prefix', async () => {
  await scope.redis.set('isolation', 'mine', 60);
  await scope.objects.put('isolation.csv', 'mine');
  expect(await tenant.objects.size('isolation.csv')).toBe(4);
  expect(await other.objects.size('isolation.csv')).toBeUndefined();
  await expect(scope.objects.get(`../${other.id}/secret.csv`)).rejects.toMatchObject({ code: 'OBJECT_KEY_INVALID' });
  await expect(scope.objects.get(`${other.id}/secret.csv`)).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' });
  expect(await Array.fromAsync(scope.objects.list(''))).toEqual(['isolation.csv']);
});

test('an event is the tenant’s own, in its own vhost, whatever its body claims', async () => {
  const connection = await openVhost(tenant.config.rabbitmq);
  const foreign = await openVhost(other.config.rabbitmq);
  const heard: { where: string; header: unknown; body: Record<string, unknown> }[] = [];
  const last = Promise.withResolvers<void>();
  for (const [where, model] of Object.entries({ own: connection, foreign })) {
    const channel = await model.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.assertExchange(eventsExchange, 'topic', { durable: true });
    await channel.bindQueue(queue, eventsExchange, '#');
    await channel.consume(queue, (message) => {
      if (!message) return;
      heard.push({
        where,
        header: message.properties.headers?.[tenantHeader],
        body: JSON.parse(String(message.content)),
      });
      if (heard.at(-1)?.body.eventType === 'last') last.resolve();
    });
  }
  const claims = { tenantId: other.id, tenantSlug: other.config.slug, 'X-Tenant-ID': other.id, eventId: 'chosen' };
  await scope.publish('job.progress', claims);
  await scope.publish('last', {});
  await last.promise;
  expect(heard.map(({ where, header }) => [where, header])).toEqual([
    ['own', tenant.id],
    ['own', tenant.id],
  ]);
  expect(heard[0]?.body).toMatchObject({ tenantId: tenant.id, tenantSlug: tenant.config.slug });
  expect(heard[0]?.body.eventId).not.toBe('chosen');
  await Promise.all([connection.close(), foreign.close()]);
});
