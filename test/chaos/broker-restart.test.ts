import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type OwnBroker, startOwnBroker } from '../support/own-broker.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';

/** RabbitMQ itself goes down, for every tenant at once, and comes back with what it had on disk. */

let broker: OwnBroker;
let fleet: TestFleet;
let tenant: TestTenant;
let others: SteadyJobs[];

const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));

beforeAll(async () => {
  broker = await startOwnBroker();
  // Everything in this file's process finds this one, the Tenant Manager included.
  Object.assign(process.env, broker.environment);
  fleet = await startFleet({ workers: 2 });
  const tenants = await Promise.all([fleet.tenant(), fleet.tenant(), fleet.tenant()]);
  tenant = tenants[0];
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  await loadPairs(tenant, 20);
  others = await Promise.all(tenants.slice(1).map((one) => startSteadyJobs(one)));
});
afterAll(async () => {
  await fleet?.close();
  await broker?.close();
});

test('down in the middle of jobs: what ran ends, what waited survives, all tenants are served again without a restart', async () => {
  await Promise.all(others.map((jobs) => jobs.more(5)));
  // One run stands still in its transaction when the broker goes; others wait behind it in the queue.
  const held = await tenant.hold('match_groups');
  const ids = Array.from({ length: 6 }, () => randomUUID());
  const run = { version: 1, context: 'bank' } as const;
  for (const id of ids) await tenant.client.publish('matching.run', run, { id });
  await until(held.waiting);
  await broker.down();
  await until(() => logged('lost the connection to the vhost', tenant.id).length > 0);
  await held.release();
  // The run that was in the middle ends, with nobody there to tell.
  await until(async () => (await tenant.query('SELECT FROM match_runs')).length > 0);
  await broker.up();
  const returned = performance.now();
  await Promise.all(others.map((jobs) => jobs.more(10)));
  expect(performance.now() - returned).toBeLessThan(30_000);
  for (const id of ids) expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  expect(await tenant.query('SELECT count(*)::int AS items FROM match_items')).toEqual([{ items: 40 }]);
  expect(await tenant.query('SELECT count(*)::int AS runs FROM match_runs')).toEqual([{ runs: ids.length }]);
  expect(await tenant.query('SELECT DISTINCT attempt FROM jobs')).toEqual([{ attempt: 1 }]);
});

test('and the others’ jobs were all done once, without an attempt more', async () => {
  for (const jobs of others) expect(await jobs.audit()).toBe(0);
});
