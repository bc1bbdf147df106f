import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { migrate } from '@matcher/shared/postgres/migrate.ts';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { openLink } from '@matcher/shared/rabbitmq/vhost-link.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { Schedule } from '@matcher/shared/schedules/cron.ts';
import { schedulerKeys } from '@matcher/shared/schedules/poke.ts';
import { firingOf } from '@matcher/shared/schedules/scheduled-job.ts';
import type { TenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import type { Channel, ConsumeMessage } from 'amqplib';
import type { Redis } from 'ioredis';
import { Client } from 'pg';
import { type RunningScheduler, startScheduler } from '../../workers/scheduler/start.ts';
import { simpleContext } from './contexts.ts';
import { asAdministrator, type Fixture, startFixture, tenantManagerEnv } from './tenant-manager.ts';
import { testLog } from './test-log.ts';

/** Every second: a test can't wait for minutes, and the scheduler asks nobody how many fields there are. */
export const everySecond: Schedule = { cron: '* * * * * *', timezone: 'UTC' };

/** A Tenant Manager and schedulers, and no worker: what is published stays where it is. */
export interface SchedulerFleet {
  manager: Fixture;
  environment: Record<string, string>;
  redis: Redis;
  /** What all keys of these schedulers begin with. */
  prefix: string;
  /** What the schedulers logged, line by line. */
  lines: string[];
  logged(message: string, ...parts: string[]): string[];
  /**
   * Seconds up to `to` of which nothing is known, of a context that fires every second: neither published, nor skipped, nor made up for by a later one. A busy
   * machine takes a firing later than the next one is due.
   */
  unaccounted(tenant: ScheduledTenant, messages: readonly ConsumeMessage[], to: number): number[];
  scheduler(overrides?: Record<string, string>): Promise<RunningScheduler>;
  /** A scheduler as a process of its own, that can be killed. It has announced itself when this ends. */
  spawnScheduler(overrides?: Record<string, string>): Promise<ChildProcess>;
  tenant(): Promise<ScheduledTenant>;
  close(): Promise<void>;
}

export interface ScheduledTenant {
  id: TenantConfig['tenantId'];
  config: TenantConfig;
  client: Client;
  /** The tenant's vhost, with all that must be there. */
  channel: Channel;
  /** Puts a context, or its new schedule, into the database. */
  context(name: string, schedule?: Schedule): Promise<number>;
  /** Takes the jobs of the tenant away as they come, as a worker would. */
  consume(): Promise<ConsumeMessage[]>;
  waiting(): Promise<number>;
}

export async function startSchedulerFleet(overrides: Record<string, string> = {}): Promise<SchedulerFleet> {
  const database = `manager_${randomBytes(6).toString('hex')}`;
  const administrator = loadSettings('tenant-manager', tenantManagerEnv());
  await asAdministrator(administrator, `CREATE DATABASE ${database}`);
  const manager = await startFixture({ POSTGRES_DB: database });
  const environment: Record<string, string> = {
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY ?? '',
    MULTI_TENANT_ENVIRONMENT: manager.settings.MULTI_TENANT_ENVIRONMENT ?? '',
    SERVER_ADDRESS: '127.0.0.1:0',
    ...overrides,
  };
  const settings = loadSettings('worker', { ...process.env, ...environment });
  const { log, lines } = testLog();
  const redis = createRedis(settings, log);
  await once(redis, 'ready');
  const { prefix } = schedulerKeys(settings);
  const running: RunningScheduler[] = [];
  const children: ChildProcess[] = [];
  const closers: (() => Promise<unknown>)[] = [];
  const fleet: SchedulerFleet = {
    manager,
    environment,
    redis,
    prefix,
    lines,
    logged: (message, ...parts) =>
      lines.filter((line) => line.includes(`"msg":"${message}`) && parts.every((part) => line.includes(part))),
    unaccounted({ id }, messages, to) {
      const known = new Set(messages.map(secondOf));
      const from = Math.min(...known);
      const said = (message: string) =>
        fleet.logged(message, id).map((line) => JSON.parse(line) as { jobId: string; missedSince: string });
      for (const { jobId } of said('a scheduled run was skipped')) known.add(secondOfId(jobId));
      for (const { jobId, missedSince } of said('a scheduled run makes up')) {
        for (let second = Date.parse(missedSince) / 1000; second < secondOfId(jobId); second++) known.add(second);
      }
      return Array.from({ length: to - from + 1 }, (_, index) => from + index).filter((second) => !known.has(second));
    },
    async scheduler(own = {}) {
      const scheduler = await startScheduler(loadSettings('worker', { ...process.env, ...environment, ...own }), log);
      running.push(scheduler);
      return scheduler;
    },
    async spawnScheduler(own = {}) {
      const child = spawn(process.execPath, [resolve(import.meta.dirname, '../../workers/scheduler/main.ts')], {
        env: { ...process.env, ...environment, ...own },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      const { promise: started, resolve: hear } = Promise.withResolvers<void>();
      let rest = '';
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        const found = (rest + text).split('\n');
        rest = found.pop() ?? '';
        lines.push(...found);
        if (found.some((line) => line.includes('"msg":"started"'))) hear();
      });
      await started;
      return child;
    },
    async tenant() {
      const config = await manager.onboard();
      const client = new Client(connectionOptions(config.postgres, settings, 'test'));
      // A test may end it from the server's side.
      client.on('error', () => {});
      await client.connect();
      await migrate(client);
      const link = await openLink(config.rabbitmq, { name: 'test', log }, new AbortController().signal);
      const channel = await link.model.createChannel();
      closers.push(
        () => client.end(),
        () => link.model.close(),
      );
      return {
        id: config.tenantId,
        config,
        client,
        channel,
        async context(name, schedule) {
          const { rows } = await client.query(
            `INSERT INTO contexts (name, type, definition) VALUES ($1, '1:1', $2)
             ON CONFLICT (name) DO UPDATE SET definition = excluded.definition RETURNING id`,
            [name, JSON.stringify({ ...simpleContext({ name }), ...(schedule ? { schedule } : {}) })],
          );
          return rows[0].id;
        },
        async consume() {
          const messages: ConsumeMessage[] = [];
          await channel.consume(jobQueue('matching.run'), (message) => {
            if (!message) return;
            messages.push(message);
            channel.ack(message);
          });
          return messages;
        },
        waiting: async () => (await channel.checkQueue(jobQueue('matching.run'))).messageCount,
      };
    },
    async close() {
      await Promise.all(running.map((scheduler) => scheduler.stop()));
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      await Promise.all(closers.map((close) => close()));
      redis.disconnect();
      await manager.close();
      await asAdministrator(administrator, `DROP DATABASE ${database} WITH (FORCE)`);
    },
  };
  return fleet;
}

/** When (seconds since 1970) the firing of a published run was. */
export const secondOf = ({ properties }: ConsumeMessage): number => secondOfId(properties.messageId);

const secondOfId = (jobId: string): number => (firingOf(jobId)?.getTime() ?? Number.NaN) / 1000;
