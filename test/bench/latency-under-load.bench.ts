import { setTimeout as delay } from 'node:timers/promises';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import { createS3Client, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { csv, simpleContext } from '../support/contexts.ts';
import { startBenchFleet } from './fleet.ts';
import { percentile, report, rounded } from './report.ts';

/**
 * What a large job costs the small ones beside it: how long small jobs of one tenant take, from their publication to the event that they are done, while
 * the same worker process matches 500,000 a side for another tenant, against the same process with nothing else to do.
 */
const records = 500_000;
const perSecond = 10;
const idleJobs = 150;
const limit = 2;

const say = (line: string) => void process.stderr.write(`${line}\n`);
const log = createLog({ ENV_NAME: 'bench', LOG_LEVEL: 'warn' }, 'bench');
const fleet = await startBenchFleet();
await fleet.worker('workers/ingest/main.ts');
await fleet.worker('workers/matching/main.ts');
const s3 = createS3Client(fleet.settings);

const open = async () => {
  const { tenantId } = await fleet.manager.onboard();
  const client = await openJobClient({ settings: fleet.settings, tenantId, log });
  return { client, objects: tenantObjects(s3, fleet.settings, tenantId) };
};
const large = await open();
const small = await open();

async function done(client: JobClient, type: 'context.apply' | 'ingestion.run' | 'matching.run', body: never) {
  const end = await client.follow(await client.publish(type, body));
  if (end.state !== 'SUCCEEDED') throw new Error(`${type}: ${JSON.stringify(end)}`);
}
const apply = (client: JobClient) =>
  done(client, 'context.apply', { version: 1, context: simpleContext() } as unknown as never);

await Promise.all([apply(large.client), apply(small.client)]);
for (const [source, prefix] of [
  ['ledger', 'l'],
  ['statement', 'r'],
] as const) {
  const lines = Array.from({ length: records }, (_, i) => ({
    id: `${prefix}${i}`,
    amount: `${(i % 9973) + 1}.${String(i % 100).padStart(2, '0')}`,
    ref: `R${i}`,
  }));
  await large.objects.put(`uploads/${source}.csv`, csv(lines));
  const body = { version: 1, context: 'bank', source, objectKey: `uploads/${source}.csv`, format: 'CSV' };
  await done(large.client, 'ingestion.run', body as unknown as never);
  say(`${records} ${source} records are loaded`);
}

/** Milliseconds that small jobs take, one every so often as long as `on` says so. */
async function times(on: () => boolean): Promise<number[]> {
  const taken: number[] = [];
  const jobs: Promise<void>[] = [];
  while (on()) {
    const begin = performance.now();
    jobs.push(apply(small.client).then(() => void taken.push(performance.now() - begin)));
    await delay(1000 / perSecond);
  }
  await Promise.all(jobs);
  return taken;
}

let left = 30;
await times(() => left-- > 0);
left = idleJobs;
const idle = await times(() => left-- > 0);
say(`idle: ${percentile(idle, 0.95).toFixed(1)} ms`);
let running = true;
const begin = performance.now();
const run = done(large.client, 'matching.run', { version: 1, context: 'bank' } as unknown as never).finally(() => {
  running = false;
});
const beside = await times(() => running);
await run;
const matchingSec = (performance.now() - begin) / 1000;

const line = (what: string, p: number) => [
  what,
  percentile(idle, p).toFixed(1),
  percentile(beside, p).toFixed(1),
  (percentile(beside, p) / percentile(idle, p)).toFixed(2),
];
report(
  ['small jobs, ms', 'alone', `beside ${records.toLocaleString('en')} a side`, 'ratio'],
  [line('median', 0.5), line('95th percentile', 0.95), ['jobs', String(idle.length), String(beside.length), '']],
  {
    bench: 'latency-under-load',
    ratio: rounded(percentile(beside, 0.95) / percentile(idle, 0.95)),
    limit,
    matchingSec: rounded(matchingSec, 1),
  },
);
s3.destroy();
await Promise.all([large.client.close(), small.client.close()]);
await fleet.close();
process.exit();
