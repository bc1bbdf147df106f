import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { jobProperties } from '@matcher/shared/jobs/message.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { startWorker } from '@matcher/shared/process/run-worker.ts';
import { eventsExchange, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { singleTenantConfig, type TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { ChannelModel, ConfirmChannel } from 'amqplib';
import { Pool } from 'pg';
import { until } from '../support/fleet.ts';
import { scriptedJob } from '../support/scripted-job.ts';
import { asAdministrator, openVhost, startFixture, tenantManagerEnv } from '../support/tenant-manager.ts';
import { bareQueue, declareBareQueue, startBareLoop } from './bare-loop.ts';
import { median, percentile, report, rounded } from './report.ts';
import { type CpuTime, cpuClock } from './server-time.ts';

/**
 * Jobs per second of a handler that does nothing, from the broker to its event and its acknowledgement, against a bare loop over the drivers
 * (bare-loop.ts) with the same concurrency, in the same process and on the same servers: at one tenant and at many. And how long a single job
 * takes from its publication to its acknowledgement when nothing else goes on. Rounds of the two follow each other in turn.
 */
const many = Number(process.env.BENCH_TENANTS ?? 50);
const concurrency = 16;
const jobs = 8000;
const rounds = 3;
const singles = 300;
const limit = 1;
const latencyLimit = 1.5;

const say = (line: string) => void process.stderr.write(`${line}\n`);
const database = `bench_${randomBytes(6).toString('hex')}`;
const administrator = loadSettings('tenant-manager', tenantManagerEnv());
await asAdministrator(administrator, `CREATE DATABASE ${database}`);
const manager = await startFixture({ POSTGRES_DB: database, LOG_LEVEL: 'warn' });
const settings = loadSettings('worker', {
  ...process.env,
  MULTI_TENANT_ENABLED: 'true',
  MULTI_TENANT_URL: manager.address,
  MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY,
  MULTI_TENANT_ENVIRONMENT: manager.settings.MULTI_TENANT_ENVIRONMENT,
  SERVER_ADDRESS: '127.0.0.1:0',
  JOB_SLOTS: String(concurrency),
  JOB_SLOTS_PER_TENANT: String(concurrency),
  POSTGRES_MAX_OPEN_CONNS: '5',
});
// As verbose as in production, and nowhere to go.
const log = createLog({ ENV_NAME: 'bench', LOG_LEVEL: 'info' }, 'bench', { write() {} });

interface Vhost {
  config: TenantConfig;
  connection: ChannelModel;
  channel: ConfirmChannel;
}
/** Events heard so far. */
let heard = 0;
const tenants: Vhost[] = [];
for (let i = 0; i < many; i++) {
  const config = await manager.onboard();
  const connection = await openVhost(config.rabbitmq);
  const channel = await connection.createConfirmChannel();
  tenants.push({ config, connection, channel });
}
say(`${many} tenants`);

type Way = 'ours' | 'bare';
const start: Record<Way, (among: readonly Vhost[]) => Promise<() => Promise<void>>> = {
  async ours() {
    const worker = await startWorker('bench', [scriptedJob(async () => null, 'export.run')], settings, log);
    await until(async () => {
      const { tenants: now } = (await (await fetch(`http://127.0.0.1:${worker.port}/ready`)).json()) as {
        tenants: { consuming: number };
      };
      return now.consuming === many;
    });
    return () => worker.stop();
  },
  bare: (among) =>
    startBareLoop(
      among.map(({ config }) => config),
      settings,
      concurrency,
    ),
};

const body = Buffer.from(JSON.stringify({ version: 1, context: 'bank', report: 'MATCHED' }));

function publish(way: Way, { config, channel }: Vhost): void {
  const properties = jobProperties(randomUUID(), 'export.run', config.tenantId);
  const headers = { ...properties.headers, at: String(performance.now()) };
  const [exchange, key] = way === 'ours' ? [jobsExchange, 'export.run'] : ['', bareQueue];
  channel.publish(exchange, key, body, { ...properties, headers, persistent: true });
}

// The worker declares what must be in a vhost; it is started once so that there is somewhere to publish to.
await (await start.ours(tenants))();
for (const { channel } of tenants) {
  await declareBareQueue(channel);
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, eventsExchange, '#');
  await channel.consume(queue, () => void heard++, { noAck: true });
}

const watch = new Pool({
  ...connectionOptions(singleTenantConfig(administrator).postgres, administrator, 'bench'),
  max: 1,
});
const clock = await cpuClock(
  watch,
  settings.RABBITMQ_MANAGEMENT_URL ?? '',
  settings.RABBITMQ_USER ?? '',
  settings.RABBITMQ_PASSWORD ?? '',
);
/** CPU time of a job, ms. */
const costs: Record<string, CpuTime> = {};

/** Jobs a second, from the time when half of them are done, every pool being warm then, until all are. */
async function throughput(way: Way, among: readonly Vhost[]): Promise<number> {
  const total = jobs;
  heard = 0;
  for (let i = 0; i < total; i++) publish(way, among[i % among.length] as Vhost);
  await Promise.all(among.map(({ channel }) => channel.waitForConfirms()));
  const stop = await start[way](among);
  const first = total / 2;
  while (heard < first) await delay(1);
  const [from, begin, before] = [heard, performance.now(), clock()];
  while (heard < total) await delay(1);
  const after = clock();
  const part = (of: keyof CpuTime) => rounded((after[of] - before[of]) / (total - from));
  costs[`${way} ${among.length}`] = {
    process: part('process'),
    postgres: part('postgres'),
    rabbitmq: part('rabbitmq'),
  };
  const rate = ((total - from) * 1000) / (performance.now() - begin);
  await stop();
  say(
    `${way}, ${among.length} tenants: ${rate.toFixed(0)} jobs/s; CPU ms a job ${JSON.stringify(costs[`${way} ${among.length}`])}`,
  );
  return rate;
}

/** Milliseconds from publication to acknowledgement of jobs that come one at a time. */
async function latencies(way: Way, among: readonly Vhost[]): Promise<number[]> {
  const stop = await start[way](among);
  const times: number[] = [];
  acknowledged = (at) => times.push(performance.now() - at);
  for (let i = 0; i < singles; i++) {
    publish(way, among[i % among.length] as Vhost);
    const before = times.length;
    while (times.length === before) await delay(1);
    await delay(10);
  }
  acknowledged = () => {};
  await stop();
  // The first ones open what is opened on first use.
  return times.slice(singles / 10);
}

/** Both ways acknowledge through the driver's channel, which is where it is seen. */
let acknowledged: (publishedAt: number) => void = () => {};
const prototype = Object.getPrototypeOf(Object.getPrototypeOf(tenants[0]?.channel)) as ConfirmChannel;
const { ack } = prototype;
prototype.ack = function (this: ConfirmChannel, message, allUpTo) {
  acknowledged(Number(message.properties.headers?.at));
  ack.call(this, message, allUpTo);
};

const one = tenants.slice(0, 1);
const rates = {
  one: { ours: [] as number[], bare: [] as number[] },
  many: { ours: [] as number[], bare: [] as number[] },
};
for (let round = 0; round < rounds; round++) {
  for (const way of ['bare', 'ours'] as const) rates.one[way].push(await throughput(way, one));
  for (const way of ['bare', 'ours'] as const) rates.many[way].push(await throughput(way, tenants));
}
const late = { ours: [] as number[], bare: [] as number[] };
for (let round = 0; round < rounds; round++) {
  for (const way of ['bare', 'ours'] as const) late[way].push(...(await latencies(way, one)));
}

const ratio = {
  one: median(rates.one.ours) / median(rates.one.bare),
  many: median(rates.many.ours) / median(rates.many.bare),
};
const p99 = { ours: percentile(late.ours, 0.99), bare: percentile(late.bare, 0.99) };
report(
  ['', 'bare loop', 'worker', 'ratio'],
  [
    ['jobs/s, 1 tenant', median(rates.one.bare).toFixed(0), median(rates.one.ours).toFixed(0), ratio.one.toFixed(3)],
    [
      `jobs/s, ${many} tenants`,
      median(rates.many.bare).toFixed(0),
      median(rates.many.ours).toFixed(0),
      ratio.many.toFixed(3),
    ],
    ['one at a time, ms: median', median(late.bare).toFixed(1), median(late.ours).toFixed(1), ''],
    ['one at a time, ms: 99th percentile', p99.bare.toFixed(1), p99.ours.toFixed(1), (p99.ours / p99.bare).toFixed(3)],
  ],
  {
    bench: 'jobs',
    // Time per job to that of the bare loop, so that smaller is better as everywhere.
    ratio: rounded(1 / Math.min(ratio.one, ratio.many)),
    limit,
    jobsPerSecondRatio: { oneTenant: rounded(ratio.one), [`${many}Tenants`]: rounded(ratio.many) },
    p99Ratio: rounded(p99.ours / p99.bare),
    p99Limit: latencyLimit,
    cpuMsPerJob: costs,
  },
);
if (p99.ours > p99.bare * latencyLimit) process.exitCode = 1;

await Promise.all(tenants.map(({ connection }) => connection.close()));
await manager.close();
await watch.end();
await asAdministrator(administrator, `DROP DATABASE ${database} WITH (FORCE)`);
process.exit();
