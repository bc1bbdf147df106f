import { randomUUID } from 'node:crypto';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import type { Progress } from '@matcher/shared/jobs/contracts/events.ts';
import { deadLetters, jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { brokerConnections, cut } from '../support/server-side.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
  tenant = await fleet.tenant();
});
afterAll(() => fleet?.close());

const apply = { version: 1, context: simpleContext() } as const;

async function withClient<T>(listen: boolean, work: (client: JobClient) => Promise<T>): Promise<T> {
  const client = await openJobClient({ settings: fleet.settings, tenantId: tenant.id, log: fleet.log, listen });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

test('a job that was done before anybody followed it has its end all the same', async () => {
  const id = await tenant.client.publish('context.apply', apply);
  await until(async () => (await tenant.client.read(id))?.state === 'SUCCEEDED');
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { context: 'bank' } });
});

test('whoever hears no events finds the end in the job’s record: another’s job, long after it ended', async () => {
  const id = await tenant.client.publish('context.apply', apply);
  await tenant.client.follow(id);
  for (const listen of [false, true]) {
    expect(await withClient(listen, (client) => client.follow(id))).toMatchObject({ state: 'SUCCEEDED' });
  }
});

test('progress is heard before the end', async () => {
  await tenant.done('context.apply', apply);
  const heard: Progress[] = [];
  const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank', mode: 'DRY_RUN' });
  await tenant.client.follow(id, { onProgress: (progress) => heard.push(progress) });
  expect(heard.map(({ stage }) => stage)).toContain('matching');
});

test('a failed job ends with its code, message and hint', async () => {
  const id = await tenant.client.publish('matching.run', { version: 1, context: 'nothing' });
  expect(await tenant.client.follow(id)).toEqual({
    state: 'FAILED',
    error: {
      code: 'CONTEXT_NOT_FOUND',
      message: 'There is no context nothing',
      hint: expect.stringContaining('Apply'),
    },
  });
});

test('a job that was cancelled before it began ends so, by its event and by its record', async () => {
  const id = randomUUID();
  await tenant.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [id]);
  await tenant.client.publish('context.apply', apply, { id });
  expect(await tenant.client.follow(id)).toEqual({ state: 'CANCELLED' });
  expect(await withClient(false, (client) => client.follow(id))).toEqual({ state: 'CANCELLED' });
});

test('a repeated idempotency key: the second job is not done, and ends as the first did', async () => {
  const publish = (idempotencyKey: string) => tenant.client.publish('context.apply', apply, { idempotencyKey });
  const first = await publish('july');
  const end = await tenant.client.follow<'context.apply'>(first);
  const second = await publish('july');
  expect(await tenant.client.follow(second)).toEqual({ ...end, duplicateOf: first });
  expect(await tenant.client.read(second)).toMatchObject({ state: 'DUPLICATE', duplicate_of: first, attempt: 0 });
  const other = await tenant.client.follow<'context.apply'>(await publish('august'));
  if (end.state !== 'SUCCEEDED' || other.state !== 'SUCCEEDED') throw new Error('both should have succeeded');
  expect(other.result.revision).toBe(end.result.revision + 1);
});

test('of two jobs with one key at the same time one is done, and both end the same', async () => {
  const ids = await Promise.all(
    [1, 2].map(() => tenant.client.publish('context.apply', apply, { idempotencyKey: 'both' })),
  );
  const ends = await Promise.all(ids.map((id) => tenant.client.follow(id)));
  const { duplicateOf: _one, ...first } = ends[0] as (typeof ends)[number];
  const { duplicateOf: _other, ...second } = ends[1] as (typeof ends)[number];
  expect(first).toEqual(second);
  const records = await tenant.query('SELECT state FROM jobs WHERE id = ANY($1) ORDER BY state', [ids]);
  expect(records).toEqual([{ state: 'DUPLICATE' }, { state: 'SUCCEEDED' }]);
});

describe('without a worker', () => {
  let idle: TestFleet;
  beforeAll(async () => {
    idle = await startFleet({ workers: 0 });
  });
  afterAll(() => idle?.close());

  test('an invalid body is refused with every field named, an invalid id too, and neither is published', async () => {
    const { client, config } = await idle.tenant();
    const body = { version: 1, context: 'No Name', report: 'ALL', colour: 'red' } as never;
    await expect(client.publish('export.run', body)).rejects.toMatchObject({
      code: 'BODY_INVALID',
      message: expect.stringMatching(/context: .*report: .*colour/),
    });
    await expect(
      client.publish('matching.run', { version: 1, context: 'bank' }, { id: 'no spaces' }),
    ).rejects.toMatchObject({ code: 'JOB_ID_INVALID' });
    for (const idempotencyKey of ['', 'two words', 'x'.repeat(256), 'é']) {
      await expect(
        client.publish('matching.run', { version: 1, context: 'bank' }, { idempotencyKey }),
      ).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_INVALID' });
    }
    await client.publish('context.apply', apply);
    const connection = await openVhost(config.rabbitmq);
    const channel = await connection.createChannel();
    const waiting = async (queue: string) => (await channel.checkQueue(queue)).messageCount;
    // What came after them is there.
    await until(async () => (await waiting(jobQueue('context.apply'))) === 1);
    for (const queue of [jobQueue('export.run'), jobQueue('matching.run'), deadLetters]) {
      expect([queue, await waiting(queue)]).toEqual([queue, 0]);
    }
    await connection.close();
  });

  test('waiting ends with its signal, and the job goes on', async () => {
    const { client } = await idle.tenant();
    const id = await client.publish('context.apply', apply);
    await expect(client.follow(id, { signal: AbortSignal.timeout(50) })).rejects.toThrow('timeout');
    await idle.worker();
    expect(await client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  });
});

test('a publisher outlives rotations that cut its connections: it publishes, follows and reads with the credentials of now', async () => {
  const own = await fleet.tenant();
  // Nothing tells it but a refusal.
  const settings = { ...fleet.settings, MULTI_TENANT_CACHE_TTL_SEC: 3600 };
  const client = await openJobClient({ settings, tenantId: own.id, log: fleet.log });
  const use = async () => {
    const id = randomUUID();
    // Published on a connection that breaks meanwhile, it is published again under its id.
    await until(() =>
      client.publish('context.apply', apply, { id }).catch((error) => {
        if (error.code !== 'NOT_CONFIRMED') throw error;
        return undefined;
      }),
    );
    expect(await client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
    expect(await client.read(id)).toMatchObject({ id, state: 'SUCCEEDED', attempt: 1 });
  };
  await use();
  const first = await fleet.manager.connections(own.id);
  for (let i = 0; i < 2; i++) {
    await fleet.manager.rotate(own.id);
    // Its own, and that of the fleet's client.
    await until(async () => (await brokerConnections(fleet, own, 'publishers')).length === 2);
    await cut(fleet, own, 'publishers');
    await use();
  }
  // The broker's two users have taken turns.
  const { rabbitmq, postgres } = await fleet.manager.connections(own.id);
  expect(rabbitmq.user).toBe(first.rabbitmq.user);
  expect([rabbitmq.password, postgres.password]).not.toContain(first.rabbitmq.password);
  await client.close();
});

test('a suspended tenant, and one that there is not', async () => {
  const options = { settings: fleet.settings, log: fleet.log };
  const suspended = await fleet.manager.onboard();
  await fleet.manager.call('PUT', `/v1/tenants/${suspended.tenantId}/associations/matcher/suspend`);
  const nobody = 'nobody' as typeof suspended.tenantId;
  await expect(openJobClient({ ...options, tenantId: suspended.tenantId })).rejects.toMatchObject({
    code: 'TENANT_SUSPENDED',
  });
  await expect(openJobClient({ ...options, tenantId: nobody })).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
});

test('a broker that refuses the credentials is said to do so', async () => {
  const { rabbitmq, postgres } = tenant.config;
  const settings = {
    ...fleet.settings,
    MULTI_TENANT_ENABLED: false,
    DEFAULT_TENANT_ID: tenant.id,
    POSTGRES_HOST: postgres.host,
    POSTGRES_DB: postgres.database,
    POSTGRES_USER: postgres.user,
    POSTGRES_PASSWORD: postgres.password,
    RABBITMQ_HOST: rabbitmq.host,
    RABBITMQ_PORT: rabbitmq.port,
    RABBITMQ_VHOST: rabbitmq.vhost,
    RABBITMQ_USER: rabbitmq.user,
    RABBITMQ_PASSWORD: 'wrong',
  };
  await expect(openJobClient({ settings, tenantId: tenant.id, log: fleet.log })).rejects.toMatchObject({
    code: 'BROKER_REFUSED',
  });
});
