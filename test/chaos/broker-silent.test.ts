import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** The way to one tenant's broker becomes a black hole, which only missing heartbeats tell. */

let fleet: TestFleet;
let manager: ManagerProxy;
let broker: TcpProxy;
let struck: TestTenant;
let struckJobs: SteadyJobs;
let neighbours: SteadyJobs[];

const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  const { RABBITMQ_HOST = '', RABBITMQ_PORT } = fleet.settings;
  broker = await startTcpProxy(RABBITMQ_HOST, RABBITMQ_PORT);
  const tenants = await Promise.all([fleet.tenant(), fleet.tenant(), fleet.tenant()]);
  struck = tenants[0];
  manager.detours.set(struck.id, { rabbitmqPort: broker.port });
  await fleet.worker({ MULTI_TENANT_URL: manager.address });
  await struck.done('context.apply', { version: 1, context: simpleContext() });
  await loadPairs(struck, 20);
  struckJobs = await startSteadyJobs(struck, { lanes: 4 });
  neighbours = await Promise.all(tenants.slice(1).map((tenant) => startSteadyJobs(tenant)));
});
afterAll(async () => {
  await fleet?.close();
  await broker?.close();
  await manager?.close();
});

test('a broker that swallows everything in the middle of jobs: neighbours go on, heartbeats find out, each job is done once', async () => {
  await struckJobs.more(5);
  const held = await struck.hold('match_groups');
  const ids = [randomUUID(), randomUUID()];
  for (const id of ids) await struck.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
  await until(held.waiting);
  broker.mode = 'swallow';
  await held.release();
  // The run is committed, and its event and acknowledgement go into the hole.
  await until(async () => (await struck.query('SELECT FROM match_runs')).length > 0);
  await until(() => broker.hits.swallowed > 0);
  const lost = () => logged('lost the connection to the vhost', struck.id).length > 0;
  // All slots are the neighbours' while the struck tenant's deliveries wait for a broker that says nothing.
  await Promise.all(neighbours.map((jobs) => jobs.more(50)));
  expect(lost()).toBe(false);
  await until(lost);
  expect(logged('lost the connection to the vhost', struck.id)[0]).toContain('eartbeat');
  await Promise.all(neighbours.map((jobs) => jobs.more(20)));

  broker.mode = 'forward';
  const back = performance.now();
  for (const id of ids) expect(await struck.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
  await struckJobs.more(10);
  expect(performance.now() - back).toBeLessThan(40_000);
  expect(await struck.query('SELECT count(*)::int AS items FROM match_items')).toEqual([{ items: 40 }]);
  expect(await struck.query('SELECT count(*)::int AS runs FROM match_runs')).toEqual([{ runs: 2 }]);
});

test('and all jobs were done once, without an attempt more', async () => {
  for (const jobs of [struckJobs, ...neighbours]) expect(await jobs.audit()).toBe(0);
});
