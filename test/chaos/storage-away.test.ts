import { randomUUID } from 'node:crypto';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { csv, load, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { type SteadyJobs, startSteadyJobs } from '../support/steady-jobs.ts';
import { type Side, startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

/** The object storage goes away in the middle of a transfer. Jobs that need none of it go on. */

const records = 20_000;

let fleet: TestFleet;
let storage: TcpProxy;
let tenant: TestTenant;
let other: SteadyJobs;

const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));
const lines = (from: number) =>
  csv(
    Array.from({ length: records }, (_, i) => ({
      id: `a${from + i}`,
      amount: `${i}.10`,
      ref: `R${from + i}`,
      text: 'Invoice paid in full',
    })),
  );

beforeAll(async () => {
  const endpoint = new URL(process.env.OBJECT_STORAGE_ENDPOINT ?? '');
  const { host, port } = splitAddress(endpoint.host);
  storage = await startTcpProxy(host, port);
  fleet = await startFleet({ workers: 0 });
  await fleet.worker({ OBJECT_STORAGE_ENDPOINT: `http://127.0.0.1:${storage.port}` });
  const neighbour = await fleet.tenant();
  tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  other = await startSteadyJobs(neighbour);
});
afterAll(async () => {
  await fleet?.close();
  await storage?.close();
});

/** Goes away once so many bytes of a transfer have come from one side. */
function leaveAfter(bytes: number, side: Side): void {
  let passed = 0;
  storage.watch = (chunk, from) => {
    if (from === side) passed += chunk.length;
    if (passed < bytes) return;
    storage.watch = undefined;
    storage.mode = 'refuse';
    storage.cut('reset');
  };
}

/** Returns when the storage has gone and the job has been put off so many times: in the middle, then with nobody there at all. */
async function stayAway(id: string, times: number): Promise<void> {
  await until(() => storage.mode === 'refuse');
  expect(storage.hits.cut).toBeGreaterThan(0);
  await until(() => logged(id, 'STORAGE_UNAVAILABLE', '"msg":"job put off"').length >= times);
  await other.more(20);
  expect(await tenant.client.read(id)).toMatchObject({ state: 'WAITING', attempt: 0 });
}

test('in the middle of a file that is loaded: put off, nothing of it is there, and then it is loaded once', async () => {
  await tenant.objects.put('ledger.csv', lines(0));
  leaveAfter(300_000, 'server');
  const file = { version: 1, context: 'bank', source: 'ledger', objectKey: 'ledger.csv', format: 'CSV' } as const;
  const id = await tenant.client.publish('ingestion.run', file, { id: randomUUID() });
  await stayAway(id, 2);
  expect(storage.hits.refused).toBeGreaterThan(0);
  expect(await tenant.query('SELECT count(*)::int AS loaded FROM transactions')).toEqual([{ loaded: 0 }]);
  storage.mode = 'forward';
  const end = await tenant.client.follow<'ingestion.run'>(id);
  expect(end).toMatchObject({ state: 'SUCCEEDED', result: { added: records, known: 0 } });
  expect(await tenant.client.read(id)).toMatchObject({ attempt: 1 });
  expect(await tenant.query('SELECT count(*)::int AS loaded FROM transactions')).toEqual([{ loaded: records }]);
});

test('in the middle of a report that is written: put off, no half report stays, and then there is one', async () => {
  expect(await load(tenant, 'statement', lines(1_000_000))).toMatchObject({ state: 'SUCCEEDED' });
  leaveAfter(300_000, 'client');
  const report = { version: 1, context: 'bank', report: 'UNMATCHED' } as const;
  const id = await tenant.client.publish('export.run', report, { id: randomUUID() });
  await stayAway(id, 1);
  storage.mode = 'forward';
  const end = await tenant.client.follow<'export.run'>(id);
  expect(end).toMatchObject({ state: 'SUCCEEDED', result: { rows: 2 * records } });
  expect(await tenant.client.read(id)).toMatchObject({ attempt: 1 });
  const written = await Array.fromAsync(tenant.objects.list('exports/'));
  expect(written).toEqual([end.state === 'SUCCEEDED' && end.result.objectKey]);
});

test('and the neighbour’s jobs were all done once, without an attempt more', async () => {
  expect(await other.audit()).toBe(0);
});
