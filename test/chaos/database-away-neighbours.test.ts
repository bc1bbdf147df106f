import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { csv, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** One tenant's database strikes while others work in the same process. */

let fleet: TestFleet;
let manager: ManagerProxy;
let database: TcpProxy;
let struck: TestTenant;
let neighbours: SteadyJobs[];

const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
  const { POSTGRES_HOST = '', POSTGRES_PORT } = fleet.settings;
  database = await startTcpProxy(POSTGRES_HOST, POSTGRES_PORT);
  const [first, ...others] = await Promise.all([fleet.tenant(), fleet.tenant(), fleet.tenant()]);
  struck = first;
  manager.detours.set(struck.id, { postgresPort: database.port });
  await fleet.worker({ MULTI_TENANT_URL: manager.address, POSTGRES_CONNECT_TIMEOUT_SEC: '30' });
  neighbours = await Promise.all(others.map((tenant) => startSteadyJobs(tenant)));
});
afterAll(async () => {
  await fleet?.close();
  await database?.close();
  await manager?.close();
});

test('a black hole with work of every kind waiting before it: the neighbours go on, and the work is done when it is gone', async () => {
  await struck.done('context.apply', { version: 1, context: simpleContext() });
  await struck.objects.put('ledger.csv', csv([{ id: 'l1', amount: '1', ref: 'R1' }]));
  database.mode = 'swallow';
  const ids = Array.from({ length: 16 }, () => randomUUID());
  for (const [i, id] of ids.entries()) {
    const context = { version: 1, context: 'bank' } as const;
    if (i % 4 === 0) await struck.client.publish('context.apply', { version: 1, context: simpleContext() }, { id });
    if (i % 4 === 1) await struck.client.publish('matching.run', context, { id });
    if (i % 4 === 2) await struck.client.publish('export.run', { ...context, report: 'UNMATCHED' }, { id });
    if (i % 4 === 3) {
      const file = { ...context, source: 'ledger', objectKey: 'ledger.csv', format: 'CSV' } as const;
      await struck.client.publish('ingestion.run', file, { id });
    }
  }
  await until(() => database.hits.swallowed > 0);
  await Promise.all(neighbours.map((jobs) => jobs.more(20)));
  // None of the struck tenant's has come back from its database by now: they all still wait for it.
  expect(logged(struck.id, '"msg":"job put off"')).toEqual([]);
  database.mode = 'forward';
  database.cut('reset');
  for (const id of ids) expect(await struck.client.follow(id)).toMatchObject({ state: 'SUCCEEDED' });
});

test('connections reset again and again, whatever is on them: the jobs are put off and each is done once', async () => {
  const jobs = await startSteadyJobs(struck, { lanes: 6 });
  await jobs.more(6);
  const { cut } = database.hits;
  const putOff = () => logged(struck.id, '"msg":"job put off"').length;
  for (let blow = 0; blow < 2; blow++) {
    const before = putOff();
    // A connection that lies idle is replaced without anybody noticing; until one is hit in the middle of a job, it strikes again.
    await until(() => {
      if (putOff() === before) database.cut('reset');
      return putOff() > before;
    });
    await Promise.all([jobs.more(6), ...neighbours.map((others) => others.more(20))]);
  }
  expect(database.hits.cut).toBeGreaterThan(cut);
  await jobs.audit();
});

test('and the neighbours’ jobs were all done once, without an attempt more', async () => {
  for (const jobs of neighbours) expect(await jobs.audit()).toBe(0);
});
