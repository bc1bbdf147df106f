import { Draw } from './draw.ts';
import { planSchedule, type ScheduledStrike, type Strike, workerKinds } from './schedule.ts';
import { contexts, isScheduled, type PlannedJob, planWork, tenantName } from './work.ts';

export interface PlanOptions {
  seed: number;
  minutes: number;
  tenants: number;
  /** Worker processes of each kind. */
  workers: number;
  publishers: number;
  /** Jobs a second. */
  rate: number;
}

export interface PlannedTenant {
  name: string;
  isolation: 'isolated' | 'schema';
}

/** Everything that is done, drawn from the seed: the same seed and options are the same plan. When the machine does what is another matter. */
export interface Plan {
  options: PlanOptions;
  tenants: PlannedTenant[];
  /** Names of the worker processes: `ingest.1` and so on. */
  workers: string[];
  /** Names of the scheduler processes. */
  schedulers: string[];
  /** MULTI_TENANT_MAX_TENANT_POOLS of the workers. */
  maxPools: number;
  jobs: PlannedJob[];
  strikes: ScheduledStrike[];
}

const schedulers = ['scheduler.1', 'scheduler.2'];

export function makePlan(options: PlanOptions): Plan {
  const { seed, minutes, tenants, publishers } = options;
  const workers = workerKinds.flatMap((kind) =>
    Array.from({ length: options.workers }, (_, index) => `${kind}.${index + 1}`),
  );
  const draw = new Draw(seed, 'fleet');
  const seconds = minutes * 60;
  return {
    options,
    workers,
    schedulers,
    tenants: Array.from({ length: tenants }, (_, index) => ({
      name: tenantName(index),
      isolation: draw.chance(0.25) ? 'schema' : 'isolated',
    })),
    // Room for all, or for so few that tenants take turns.
    maxPools: draw.chance(0.5) ? 100 : Math.max(4, Math.ceil(tenants * 0.6)),
    jobs: planWork(new Draw(seed, 'work'), { ...options, seconds }),
    strikes: planSchedule(new Draw(seed, 'strikes'), {
      tenants,
      workers: workers.length,
      schedulers: schedulers.length,
      publishers,
      seconds,
    }),
  };
}

/** The plan for a person, line by line. */
export function describePlan(plan: Plan): string[] {
  const { options, tenants, workers, jobs, strikes, maxPools } = plan;
  const byType = Object.entries(Object.groupBy(jobs, ({ type }) => type)).map(([type, all]) => `${all.length} ${type}`);
  const schemas = tenants.filter(({ isolation }) => isolation === 'schema').map(({ name }) => name);
  const scheduled = tenants.filter(({ name }) => contexts.some((context) => isScheduled(name, context)));
  return [
    `seed ${options.seed}: ${options.minutes} minutes, ${tenants.length} tenants, ${workers.length} workers with ${maxPools} pools, ${options.publishers} publishers`,
    `tenants with a schema in a shared database: ${schemas.join(' ') || 'none'}`,
    `tenants with a context that is matched every minute: ${scheduled.map(({ name }) => name).join(' ')}`,
    `jobs: ${jobs.length} (${byType.join(', ')}), ${jobs.filter(({ twice }) => twice).length} of them published twice`,
    ...strikes.map((strike) => `  ${clock(strike.at)}  ${describeStrike(strike, plan)}`),
  ];
}

/** Minutes and seconds. */
export function clock(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
}

export function describeStrike(strike: Strike, { tenants, workers, schedulers }: Plan): string {
  const names = (indexes: readonly number[]) =>
    indexes.length === tenants.length ? 'all tenants' : indexes.map((index) => tenants[index]?.name).join(' ');
  const s = (ms: number) => `${ms / 1000} s`;
  const whose = (network: string, indexes: readonly number[]) =>
    network === 'storage' || network === 'redis' ? network : `${network} of ${names(indexes)}`;
  switch (strike.kind) {
    case 'kill-worker':
      return `kill ${workers[strike.worker]}, new after ${s(strike.pause)}`;
    case 'rolling-restart':
      return 'restart all workers, one after the other';
    case 'postgres-restart':
      return `restart PostgreSQL (${strike.how}), away for ${s(strike.pause)}`;
    case 'broker-kill':
      return `kill RabbitMQ, away for ${s(strike.pause)}`;
    case 'redis-restart':
      return `kill Redis, away for ${s(strike.pause)}, its memory ${strike.memory}`;
    case 'kill-scheduler':
      return `kill ${schedulers[strike.scheduler]}, new after ${s(strike.pause)}`;
    case 'restart-scheduler':
      return `restart ${schedulers[strike.scheduler]}`;
    case 'cut':
      return `cut (${strike.how}) ${whose(strike.network, strike.tenants)}`;
    case 'swallow':
      return `${strike.hole} ${whose(strike.network, strike.tenants)} for ${s(strike.time)}, cut ${s(strike.cutAfter)} later`;
    case 'refuse':
      return `refuse ${whose(strike.network, strike.tenants)} for ${s(strike.time)}`;
    case 'rotate':
      return `rotate ${strike.credentials ?? 'both'} of ${names([strike.tenant])}`;
    case 'publisher-crash':
      return `kill publisher ${strike.publisher + 1} ${strike.moment}, ${strike.republish ? 'its successor publishes again' : 'what was not confirmed is left'}`;
    case 'manager-away':
      return `the Tenant Manager answers 503 for ${s(strike.time)}`;
    case 'manager-kill':
      return `kill the Tenant Manager, new after ${s(strike.pause)}`;
    case 'hold':
      return `hold ${strike.table} of ${names([strike.tenant])} for ${s(strike.time)}`;
  }
}
