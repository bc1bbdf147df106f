import { randomBytes } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';
import { splitHostPort } from '../../workers/local/services/environment.ts';
import { type Services, startServices } from '../../workers/local/services/start.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { type OwnBroker, startOwnBroker } from '../support/own-broker.ts';
import { type OwnPostgres, startOwnPostgres } from '../support/own-postgres.ts';
import { type OwnRedis, startOwnRedis } from '../support/own-redis.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { type Connections, Manager } from './manager.ts';
import type { Plan, PlannedTenant } from './plan.ts';
import { FleetProcess } from './processes.ts';
import type { Network } from './schedule.ts';
import { createBucket, openStorage, removeBucket } from './storage.ts';

/** Everything that is struck: servers, the ways to them, Tenant Manager, workers and schedulers. */
export interface Stage {
  postgres: OwnPostgres;
  broker: OwnBroker;
  redis: OwnRedis;
  manager: Manager;
  managerProxy: ManagerProxy;
  managerProcess: FleetProcess;
  workers: FleetProcess[];
  schedulers: FleetProcess[];
  tenants: StageTenant[];
  /** The ways that lead to a tenant's server, or to the storage or the Redis of all. */
  ways(network: Network, tenants: readonly number[]): TcpProxy[];
  /** Straight to the storage. */
  s3: S3Client;
  bucket: string;
  /** For workers and publishers, who go through the proxies. */
  environment: Record<string, string>;
  close(): Promise<void>;
}

export interface StageTenant extends PlannedTenant {
  id: string;
  connections: Connections;
}

export interface StageOptions {
  logs: string;
  say(line: string): void;
  signal: AbortSignal;
  onUntold(process: string, how: string): void;
}

/** Jobs that a worker has at the same time. */
export const jobSlots = 4;

/** What is impatient here, so that a recovery takes seconds. */
const impatience = {
  JOB_SLOTS: String(jobSlots),
  JOB_LEASE_SEC: '3',
  POSTGRES_CONNECT_TIMEOUT_SEC: '3',
  POSTGRES_QUERY_TIMEOUT_SEC: '5',
  POSTGRES_MAX_OPEN_CONNS: '6',
  POSTGRES_MAX_IDLE_CONNS: '1',
  MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '5',
  MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC: '5',
  MULTI_TENANT_TIMEOUT: '5',
  DRAIN_TIMEOUT_SEC: '10',
  MAINTENANCE_INTERVAL_SEC: '30',
};

/** @throws what any of it throws, when all of it is gone again. */
export async function startStage(plan: Plan, options: StageOptions): Promise<Stage> {
  const { say, signal, logs, onUntold } = options;
  const closing: (() => Promise<unknown> | undefined)[] = [];
  const close = async () => {
    for (const end of closing.splice(0).toReversed()) {
      await end()?.catch((error) => say(`could not be ended in order: ${error}`));
    }
  };
  /** For what takes part in the end, whatever ends it. */
  const kept = <T>(thing: T, end: (thing: T) => Promise<unknown> | undefined): T => {
    closing.push(() => end(thing));
    signal.throwIfAborted();
    return thing;
  };
  try {
    say('starting PostgreSQL, RabbitMQ, Redis and storage');
    const postgres = kept(await startOwnPostgres(), (it) => it.close());
    const broker = kept(await startOwnBroker(), (it) => it.close());
    const redis = kept(await startOwnRedis(), (it) => it.close());
    const own = { ...process.env, ...postgres.environment, ...broker.environment, ...redis.environment };
    const services: Services = kept(await startServices({ environment: own, log: say, signal }), (it) => it.stop());
    const [redisHost, redisPort] = splitHostPort(redis.environment.REDIS_HOST ?? '');
    const toRedis = kept(await startTcpProxy(redisHost, Number(redisPort)), (it) => it.close());
    const bucket = `torture-${randomBytes(6).toString('hex')}`;
    const s3 = openStorage(services.environment);
    await createBucket(s3, bucket);
    kept(s3, async () => {
      await removeBucket(s3, bucket);
      s3.destroy();
    });
    const environment: Record<string, string> = {
      ...services.environment,
      ...impatience,
      REDIS_HOST: `127.0.0.1:${toRedis.port}`,
      MULTI_TENANT_REDIS_HOST: '127.0.0.1',
      MULTI_TENANT_REDIS_PORT: String(toRedis.port),
      OBJECT_STORAGE_BUCKET: bucket,
      SERVER_ADDRESS: '127.0.0.1:0',
      MULTI_TENANT_ENABLED: 'true',
      MULTI_TENANT_SERVICE_API_KEY: randomBytes(18).toString('hex'),
      MULTI_TENANT_ENVIRONMENT: `torture-${randomBytes(4).toString('hex')}`,
      MULTI_TENANT_MAX_TENANT_POOLS: String(plan.maxPools),
      LOG_LEVEL: 'info',
    };

    const manager = new Manager(environment.MULTI_TENANT_SERVICE_API_KEY ?? '');
    const managerProxy = kept(await startManagerProxy(''), (it) => it.close());
    const managerProcess = new FleetProcess({
      name: 'tenant-manager',
      script: 'workers/tenant-manager/main.ts',
      environment,
      logs,
      up: 'the Tenant Manager is up',
      onUp(line) {
        manager.address = `http://${JSON.parse(line).address}`;
        managerProxy.target = manager.address;
      },
      onUntold: (how) => onUntold('tenant-manager', how),
    });
    managerProcess.start();
    kept(managerProcess, (it) => it.close());
    await managerProcess.up();
    signal.throwIfAborted();

    say(`making ${plan.tenants.length} tenants`);
    const serverOf = { postgres: new Map<number, TcpProxy>(), rabbitmq: new Map<number, TcpProxy>() };
    const tenants: StageTenant[] = [];
    const run = randomBytes(3).toString('hex');
    for (const [index, tenant] of plan.tenants.entries()) {
      signal.throwIfAborted();
      const id = `${tenant.name}-${run}`;
      await manager.create({ id, ...tenant });
      const connections = await manager.connections(id);
      const way = async ({ host, port }: { host: string; port: number }) =>
        kept(await startTcpProxy(host, port), (it) => it.close());
      const [toPostgres, toRabbitmq] = [await way(connections.postgres), await way(connections.rabbitmq)];
      serverOf.postgres.set(index, toPostgres);
      serverOf.rabbitmq.set(index, toRabbitmq);
      managerProxy.detours.set(id, { postgresPort: toPostgres.port, rabbitmqPort: toRabbitmq.port });
      tenants.push({ ...tenant, id, connections });
    }
    const endpoint = new URL(services.environment.OBJECT_STORAGE_ENDPOINT ?? process.env.OBJECT_STORAGE_ENDPOINT ?? '');
    const storage = kept(await startTcpProxy(endpoint.hostname, Number(endpoint.port || 80)), (it) => it.close());
    environment.OBJECT_STORAGE_ENDPOINT = `http://127.0.0.1:${storage.port}`;
    environment.MULTI_TENANT_URL = managerProxy.address;

    const processes = (names: readonly string[]) => {
      const all = names.map((name) => {
        const [kind] = name.split('.');
        const script = `workers/${kind}/main.ts`;
        const up = '"msg":"started"';
        return new FleetProcess({ name, script, environment, logs, up, onUntold: (how) => onUntold(name, how) });
      });
      return kept(all, (started) => Promise.all(started.map((one) => one.close())));
    };
    const [workers, schedulers] = [processes(plan.workers), processes(plan.schedulers)];
    return {
      postgres,
      broker,
      redis,
      manager,
      managerProxy,
      managerProcess,
      workers,
      schedulers,
      tenants,
      ways: (network, indexes) =>
        network === 'storage'
          ? [storage]
          : network === 'redis'
            ? [toRedis]
            : indexes.flatMap((index) => serverOf[network].get(index) ?? []),
      s3,
      bucket,
      environment,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
