import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { Gate, scriptedJob } from '../support/scripted-job.ts';
import { openVhost } from '../support/tenant-manager.ts';

const body = { version: 1, context: 'bank' } as const;
const gate = new Gate();
let fleet: TestFleet;
let struck: TestTenant;
let other: TestTenant;
/** What the next job of the struck tenant does. */
let next: () => unknown = () => undefined;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0, overrides: { JOB_MAX_ATTEMPTS: '1' } });
  await fleet.worker({}, undefined, [
    scriptedJob(async (job, scope) => {
      if (scope.tenantId === struck.id) return await next();
      await gate.pass(job, scope);
      return undefined;
    }),
  ]);
  [struck, other] = await Promise.all([fleet.tenant(), fleet.tenant()]);
});
afterAll(() => fleet?.close());

test.each([
  ['undefined', undefined],
  ['a text', 'no'],
  ['null', null],
  ['an object without a message', { code: 7 }],
  ['an error whose message is a megabyte', new Error('x'.repeat(2 ** 20))],
])('a handler that throws %s fails its job and nothing else', async (_what, thrown) => {
  next = () => Promise.reject(thrown);
  expect((await struck.run('matching.run', body)).state).toBe('FAILED');
  next = () => 'well';
  expect(await struck.run('matching.run', body)).toMatchObject({ state: 'SUCCEEDED', result: 'well' });
});

test('a queue that is deleted under its consumer is there again soon, and consumed; a job of another tenant goes on meanwhile', async () => {
  const running = await other.client.publish('matching.run', body);
  await until(() => gate.waiting(other.id).length === 1);
  const connection = await openVhost(struck.config.rabbitmq);
  const channel = await connection.createChannel();
  await channel.deleteQueue(jobQueue('matching.run'));
  await channel.close();
  await until(async () => {
    // Asking for a queue that is not there closes the channel.
    const asking = await connection.createChannel();
    asking.on('error', () => {});
    return await asking.checkQueue(jobQueue('matching.run')).then(
      ({ consumerCount }) => consumerCount === 1,
      () => false,
    );
  });
  next = () => 'again';
  expect(await struck.run('matching.run', body)).toMatchObject({ state: 'SUCCEEDED', result: 'again' });
  gate.open(other.id);
  expect((await other.client.follow(running)).state).toBe('SUCCEEDED');
  expect(await other.query('SELECT attempt FROM jobs WHERE id = $1', [running])).toEqual([{ attempt: 1 }]);
  await connection.close();
});
