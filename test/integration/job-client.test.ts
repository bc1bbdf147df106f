import { setTimeout as delay } from 'node:timers/promises';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import type { Progress } from '@matcher/shared/jobs/contracts/events.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';

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

test('waiting ends with its signal, and the job goes on', async () => {
  const own = await startFleet({ workers: 0 });
  try {
    const waiting = await own.tenant();
    const id = await waiting.client.publish('context.apply', apply);
    await expect(waiting.client.follow(id, { signal: AbortSignal.timeout(50) })).rejects.toThrow('timeout');
    await own.worker();
    expect(await waiting.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  } finally {
    await own.close();
  }
});

test('an invalid body is refused with every field named, and not published', async () => {
  const body = { version: 1, context: 'No Name', report: 'ALL', colour: 'red' } as never;
  const publishing = tenant.client.publish('export.run', body, { id: 'never-published' });
  await expect(publishing).rejects.toMatchObject({
    code: 'BODY_INVALID',
    message: expect.stringMatching(/context: .*report: .*colour/),
  });
  await expect(tenant.client.publish('context.apply', apply, { id: 'no spaces' })).rejects.toMatchObject({
    code: 'JOB_ID_INVALID',
  });
  await delay(200);
  expect(await tenant.client.read('never-published')).toBeUndefined();
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
