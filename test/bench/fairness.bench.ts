import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { jobProperties } from '@matcher/shared/jobs/message.ts';
import { jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { ConfirmChannel } from 'amqplib';
import { simpleContext } from '../support/contexts.ts';
import { until } from '../support/fleet.ts';
import { openVhost, queryAs } from '../support/tenant-manager.ts';
import { startBenchFleet } from './fleet.ts';
import { percentile, report, rounded } from './report.ts';

/**
 * Whether a tenant's flood is its own affair: how long the jobs of nine tenants, one a second each, wait for a worker process that has nothing else to
 * do, and how long while a tenth tenant has a great many waiting. The jobs do nothing, so that all of it is turns and round trips.
 */
const flood = 20_000;
const others = 9;
const seconds = 20;
const limit = 2;

const fleet = await startBenchFleet();
const say = (line: string) => void process.stderr.write(`${line}\n`);
const body = Buffer.from(JSON.stringify({ version: 1, context: simpleContext() }));

interface Tenant {
  config: TenantConfig;
  channel: ConfirmChannel;
  close(): Promise<void>;
}
const tenants: Tenant[] = [];
for (let i = 0; i <= others; i++) {
  const config = await fleet.manager.onboard();
  const connection = await openVhost(config.rabbitmq);
  tenants.push({ config, channel: await connection.createConfirmChannel(), close: () => connection.close() });
}
const [flooding, ...steady] = tenants as [Tenant, ...Tenant[]];
const worker = await fleet.worker('test/support/scripted-worker.ts');
await until(async () => (await worker.ready()).tenants.consuming === tenants.length);

function publish({ config, channel }: Tenant): string {
  const id = randomUUID();
  const properties = jobProperties(id, 'context.apply', config.tenantId);
  channel.publish(jobsExchange, 'context.apply', body, { ...properties, persistent: true });
  return id;
}

/** Milliseconds from publication to begin, of one job a second for each of the steady tenants. */
async function waits(): Promise<number[]> {
  const published = new Map<string, number>();
  const phases = steady.map(async (tenant, i) => {
    // Not all in the same moment.
    await delay((i * 1000) / others);
    for (let n = 0; n < seconds; n++) {
      const at = Date.now();
      published.set(publish(tenant), at);
      await delay(1000);
    }
  });
  await Promise.all(phases);
  const found = await Promise.all(
    steady.map(async ({ config }) => {
      const ids = [...published.keys()];
      const sql = `SELECT id, extract(epoch FROM started_at)::float8 * 1000 AS at FROM jobs WHERE id = ANY($1)`;
      return await until(async () => {
        const rows = await queryAs(config.postgres, fleet.settings, sql, [ids]);
        return rows.length === seconds ? rows : undefined;
      });
    }),
  );
  return found.flat().map(({ id, at }) => at - (published.get(id) as number));
}

// Databases are opened before anything is measured.
for (const tenant of tenants) publish(tenant);
await delay(3000);
const quiet = await waits();
say(`quiet: ${percentile(quiet, 0.95).toFixed(1)} ms`);
for (let i = 0; i < flood; i++) publish(flooding);
await flooding.channel.waitForConfirms();
const loud = await waits();
const { messageCount: left } = await flooding.channel.checkQueue('matcher.jobs.context.apply');
if (left === 0) say('the flood was over before the end: the figures say too little');

const line = (what: string, p: number) => [
  what,
  percentile(quiet, p).toFixed(1),
  percentile(loud, p).toFixed(1),
  (percentile(loud, p) / percentile(quiet, p)).toFixed(2),
];
report(
  ['waiting, ms', 'quiet', 'during the flood', 'ratio'],
  [line('median', 0.5), line('95th percentile', 0.95), line('99th percentile', 0.99)],
  {
    bench: 'fairness',
    ratio: rounded(percentile(loud, 0.95) / percentile(quiet, 0.95)),
    limit,
    flood,
    leftOfTheFlood: left,
  },
);
await Promise.all(tenants.map(({ close }) => close()));
await fleet.close();
process.exit();
