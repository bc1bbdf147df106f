import { setTimeout as delay } from 'node:timers/promises';
import { openJobClient } from '@matcher/shared/jobs/client.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { simpleContext } from '../support/contexts.ts';
import { until } from '../support/fleet.ts';
import { asAdministrator } from '../support/tenant-manager.ts';
import { asked } from './asked.ts';
import { type BenchFleet, startBenchFleet } from './fleet.ts';
import { median, report, rounded } from './report.ts';

/**
 * What tenants cost that have nothing to do: the memory and connections of a matching worker that knows 1,000 tenants, 10 of which
 * have work, against one that knows only those 10. (A trial with `--tenants N` knows N.) And how soon the first job of a tenant that comes now is done.
 */
const many = asked('tenants', 1000);
const working = 10;
const limit = 1.5;
const newcomers = 5;

const log = createLog({ ENV_NAME: 'bench', LOG_LEVEL: 'warn' }, 'bench');
const say = (line: string) => void process.stderr.write(`${line}\n`);

const few = await startBenchFleet();
const onlyWorking = await measure(few, working);
await few.close();

const all = await startBenchFleet();
const knowsMany = await measure(all, many);
const arrivals = await arrivalTimes(all);

const rows = [
  ['tenants known', String(working), String(many)],
  ['resident memory, MB', onlyWorking.residentMb.toFixed(1), knowsMany.residentMb.toFixed(1)],
  ['heap used, MB', onlyWorking.heapMb.toFixed(1), knowsMany.heapMb.toFixed(1)],
  ['connections to PostgreSQL', String(onlyWorking.postgres), String(knowsMany.postgres)],
  ['connections to RabbitMQ', String(onlyWorking.rabbitmq), String(knowsMany.rabbitmq)],
  ['ready after, s', onlyWorking.readySec.toFixed(1), knowsMany.readySec.toFixed(1)],
  ['event to first job done, ms: median', '', median(arrivals).toFixed(0)],
  ['event to first job done, ms: slowest', '', Math.max(...arrivals).toFixed(0)],
];
report(['', 'worker that works for all', 'worker that knows many'], rows, {
  bench: 'tenants',
  ratio: rounded(knowsMany.residentMb / onlyWorking.residentMb),
  limit,
  known: many,
  working,
  few: onlyWorking,
  many: knowsMany,
  eventToFirstJobMs: { median: rounded(median(arrivals), 0), slowest: rounded(Math.max(...arrivals), 0) },
});
await all.close();

/**
 * Onboards `known` tenants and has a first worker declare what belongs in their vhosts; then starts the one that is measured, has it do one job for each
 * of the working ones, and looks at it when it is at rest.
 */
async function measure(at: BenchFleet, known: number) {
  const ids: string[] = [];
  const begin = performance.now();
  const onboard = async () => {
    while (ids.length < known) {
      const place = ids.push('') - 1;
      ids[place] = await newTenant(at);
      if (place % 100 === 99) say(`${place + 1} tenants after ${((performance.now() - begin) / 1000).toFixed(0)} s`);
    }
  };
  await Promise.all(Array.from({ length: 4 }, onboard));
  const first = await at.worker('workers/matching/main.ts');
  await until(async () => (await first.ready()).tenants.consuming === known);
  say(`${known} tenants are there and declared after ${((performance.now() - begin) / 1000).toFixed(0)} s`);
  await first.stop();
  const started = performance.now();
  const worker = await at.worker('workers/matching/main.ts');
  await until(async () => (await worker.ready()).tenants.consuming === known);
  const readySec = (performance.now() - started) / 1000;
  say(`consumes ${known} tenants after ${readySec.toFixed(1)} s`);
  await Promise.all(ids.slice(0, working).map((id) => firstJob(at, id)));
  // What the jobs left is collected, and what is not needed any more is closed, before anything is counted.
  await delay(15_000);
  const figure = await worker.metrics();
  const pools = await asAdministrator(
    at.manager.settings,
    `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE 'matcher%'`,
  );
  return {
    residentMb: figure('process_resident_memory_bytes') / 1e6,
    heapMb: figure('nodejs_heap_size_used_bytes') / 1e6,
    postgres: (pools[0] as { n: number }).n,
    rabbitmq: figure('tenant_consumers_active'),
    readySec: rounded(readySec, 1),
  };
}

/** A broker that creates its thousandth vhost may take longer than the Tenant Manager waits for it. */
async function newTenant(at: BenchFleet): Promise<string> {
  for (;;) {
    try {
      return (await at.manager.onboard(undefined, 'schema')).tenantId;
    } catch (error) {
      say(String(error));
    }
  }
}

/** For tenants that come one after the other: milliseconds from their event until their first job is done. */
async function arrivalTimes(at: BenchFleet): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < newcomers; n++) {
    const { tenantId } = await at.manager.onboard(undefined, 'schema');
    // The event was sent while the association was answered, so this begins with it or a moment later.
    const begin = performance.now();
    await firstJob(at, tenantId);
    times.push(performance.now() - begin);
  }
  return times;
}

async function firstJob(at: BenchFleet, id: string): Promise<void> {
  const client = await openJobClient({ settings: at.settings, tenantId: canonicalTenantId(id), log });
  const job = await client.publish('context.apply', { version: 1, context: simpleContext() });
  const end = await client.follow(job);
  if (end.state !== 'SUCCEEDED') throw new Error(`the job failed: ${JSON.stringify(end)}`);
  await client.close();
}
