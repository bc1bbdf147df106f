import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { Gate, scriptedJob } from '../support/scripted-job.ts';
import { openVhost } from '../support/tenant-manager.ts';

const body = { version: 1, context: 'bank' } as const;
let fleet: TestFleet;
let busy: TestTenant;
let other: TestTenant;
let gate: Gate;

beforeEach(async () => {
  fleet = await startFleet({ workers: 0 });
  [busy, other] = await Promise.all([fleet.tenant(), fleet.tenant()]);
  gate = new Gate();
});
afterEach(() => fleet?.close());

/** Its first jobs stand at the gate; those of the other tenant are done at once. */
const worker = (at: Gate, overrides: Record<string, string> = {}) =>
  fleet.worker(overrides, undefined, [
    scriptedJob(async (job, scope) => {
      if (scope.tenantId === busy.id) await at.pass(job, scope);
    }),
  ]);

const publish = (tenant: TestTenant, count: number) =>
  Promise.all(Array.from({ length: count }, () => tenant.client.publish('matching.run', body)));

describe('a tenant whose jobs do not end', () => {
  test('leaves a slot to the others, and gets no more than its cap', async () => {
    await worker(gate, { JOB_SLOTS: '3' });
    await publish(busy, 10);
    await until(() => gate.waiting(busy.id).length === 2);
    expect((await other.run('matching.run', body)).state).toBe('SUCCEEDED');
    expect(gate.came).toHaveLength(2);
    gate.open(busy.id);
  });

  test('has as many slots as it is configured to have', async () => {
    await worker(gate, { JOB_SLOTS: '4', JOB_SLOTS_PER_TENANT: '1' });
    await publish(busy, 3);
    await until(() => gate.waiting(busy.id).length === 1);
    expect((await other.run('matching.run', body)).state).toBe('SUCCEEDED');
    expect(gate.came).toHaveLength(1);
    gate.open(busy.id);
  });

  test('keeps no messages that another process has room for: what waits behind it goes there', async () => {
    const overrides = { JOB_SLOTS: '3' };
    await worker(gate, overrides);
    const jobs = await publish(busy, 4);
    await until(() => gate.waiting(busy.id).length === 2);
    const second = new Gate();
    await worker(second, overrides);
    await until(() => second.waiting(busy.id).length === 2);
    expect([...gate.came, ...second.came].toSorted()).toEqual(jobs.toSorted());
    for (const one of [gate, second]) one.open(busy.id);
    for (const id of jobs) expect((await busy.client.follow(id)).state).toBe('SUCCEEDED');
    expect(await busy.query('SELECT DISTINCT attempt FROM jobs')).toEqual([{ attempt: 1 }]);
  });
});

test('a process takes no more messages from a queue than one tenant can have slots', async () => {
  await worker(gate, { JOB_SLOTS: '3' });
  await publish(busy, 20);
  await until(() => gate.waiting(busy.id).length === 2);
  const connection = await openVhost(busy.config.rabbitmq);
  const channel = await connection.createChannel();
  await until(async () => (await channel.checkQueue(jobQueue('matching.run'))).messageCount === 18);
  await connection.close();
  gate.open(busy.id);
});
