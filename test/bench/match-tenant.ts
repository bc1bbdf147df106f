import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { Client } from 'pg';
import { simpleContext } from '../support/contexts.ts';
import { asAdministrator } from '../support/tenant-manager.ts';
import type { BenchFleet, BenchWorker } from './fleet.ts';

export type Rules = JobBodyInput<'context.apply'>['context']['rules'];

/** Same currency, amount and reference, whatever the date. */
export const exactRules: Rules = [
  { name: 'exact', type: 'EXACT', priority: 1, config: { matchDate: false, referenceField: 'reference' } },
];

/** Same currency, at most 0.05 and three days apart. */
export const toleranceRules: Rules = [
  {
    name: 'tolerance',
    type: 'TOLERANCE',
    priority: 1,
    config: { matchReference: false, absTolerance: '0.05', percentTolerance: '0', dateWindowDays: 3 },
  },
];

export interface MeasuredRun {
  jobId: string;
  /** From the job's start, as its record has it, until whoever waits has heard of its commit. Of the database's clock. */
  ms: number;
  /** Milliseconds of each stage that the run tells, by the times at which it was heard: the last one ends with the job, `starting` is before the first. */
  stages: Record<string, number>;
  result: JobResult<'matching.run'>;
}

/** A tenant whose data a bench puts into its tables itself, and whose jobs a worker process does. */
export interface MatchTenant {
  /** To its database, as its own role and without a limit for statements. */
  readonly database: Client;
  /** That does its jobs: should it end while one is waited for, that is an error. */
  worker: BenchWorker;
  /** A context with the sources `ledger` and `statement`, or its new rules. */
  apply(context: string, rules: Rules): Promise<void>;
  /** Matches a context, and measures it. */
  match(context: string): Promise<MeasuredRun>;
  /** The server writes down what it has in memory, so that what is measured next does not do it. */
  checkpoint(): Promise<void>;
  close(): Promise<void>;
}

const say = (line: string) => void process.stderr.write(`${line}\n`);

/** Does what takes a while, and says how long it took. */
export async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await work();
  say(`${what}: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  return result;
}

export async function openMatchTenant(fleet: BenchFleet, worker: BenchWorker): Promise<MatchTenant> {
  const { tenantId, postgres } = await fleet.manager.onboard();
  const log = createLog({ ENV_NAME: 'bench', LOG_LEVEL: 'warn' }, 'bench');
  const client = await openJobClient({ settings: fleet.settings, tenantId, log });
  const database = new Client(connectionOptions(postgres, fleet.settings, 'bench', { statementTimeoutMs: 0 }));
  // When a bench fails, its databases are dropped while this is connected: what failed is what is to be seen.
  database.on('error', () => {});
  await database.connect();
  await database.query('SET plan_cache_mode = auto');
  const tenant: MatchTenant = {
    database,
    worker,
    async apply(context, rules) {
      const body = { version: 1 as const, context: simpleContext({ name: context, rules }) };
      await done(client, tenant.worker, 'context.apply', await client.publish('context.apply', body));
    },
    async match(context) {
      const jobId = await client.publish('matching.run', { version: 1, context, mode: 'COMMIT' });
      const heard: [stage: string, at: number][] = [];
      const result = await done(client, tenant.worker, 'matching.run', jobId, (stage) => {
        if (heard.at(-1)?.[0] !== stage) heard.push([stage, performance.now()]);
      });
      const end = performance.now();
      const { rows } = await database.query<{ ms: number }>(
        'SELECT extract(epoch FROM clock_timestamp() - started_at)::float8 * 1000 AS ms FROM jobs WHERE id = $1',
        [jobId],
      );
      const { ms } = rows[0] as { ms: number };
      const begins = [['starting', end - ms] as const, ...heard];
      const stages = begins.map(([stage, at], i) => [stage, (begins[i + 1]?.[1] ?? end) - at]);
      return { jobId, ms, stages: Object.fromEntries(stages), result };
    },
    async checkpoint() {
      await asAdministrator(fleet.manager.settings, 'CHECKPOINT');
    },
    async close() {
      await database.end();
      await client.close();
    },
  };
  return tenant;
}

async function done<T extends JobType>(
  client: JobClient,
  worker: BenchWorker,
  type: T,
  id: string,
  onStage: (stage: string) => void = () => {},
): Promise<JobResult<T>> {
  const end = await Promise.race([
    client.follow<T>(id, { onProgress: ({ stage }) => onStage(stage) }),
    worker.exited.then((how) => {
      throw new Error(`the worker ended during ${type}: ${how}`);
    }),
  ]);
  if (end.state !== 'SUCCEEDED') throw new Error(`${type}: ${JSON.stringify(end)}`);
  return end.result;
}
