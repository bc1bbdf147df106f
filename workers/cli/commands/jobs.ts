import { MatcherError } from '@matcher/shared/errors.ts';
import { jobTypes } from '@matcher/shared/jobs/contracts/job-types.ts';
import { findJob, type JobState, jobStates, listJobs } from '@matcher/shared/jobs/job-list.ts';
import { type Command, Option } from 'commander';
import {
  duration,
  finishCommand,
  type Invocation,
  type Shell,
  tenantOption,
  timeoutOption,
  waitOption,
  wholeNumber,
} from '../invocation.ts';
import { readProgress } from '../job-progress.ts';
import { jobDetailsText, jobsTable } from '../job-tables.ts';
import { resultText } from '../job-texts.ts';
import { type RecordsSession, withRecords, withTenant } from '../tenant-session.ts';

interface ListOptions {
  tenant?: string;
  state?: JobState;
  type?: string;
  since?: number;
  limit: number;
}

interface ShowOptions {
  tenant?: string;
  wait?: boolean;
}

export function addJobsCommands(program: Command, shell: Shell): void {
  const jobs = program
    .command('jobs')
    .description('Shows a tenant’s jobs as their records tell, from their first attempt on.');

  const list = jobs
    .command('list')
    .description('Lists jobs that a worker has begun, newest first. What still waits in the queues: matcher tenants.')
    .addOption(tenantOption())
    .addOption(new Option('--state <state>', 'only these').choices(jobStates))
    .addOption(new Option('--type <type>', 'only these').choices(jobTypes))
    .addOption(new Option('--since <time>', 'begun first in the last 90s, 30m, 2h, 7d …').argParser(duration))
    .addOption(new Option('--limit <n>', 'at most so many').argParser(wholeNumber).default(50));
  finishCommand(
    list,
    shell,
    'matcher jobs list --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --state FAILED --since 2h',
    async (invocation, { tenant, state, type, since, limit }: ListOptions) => {
      await withRecords(invocation, tenant, async ({ records, tenantId }) => {
        const filter = { state, type, sinceSec: since };
        const found = (await records.read((db) => listJobs(db, filter, limit))) ?? [];
        const text = found.length === 0 ? 'There is no such job.' : jobsTable(found);
        const more = found.length < limit ? '' : `\nThese are the newest ${limit}; --limit shows more.`;
        invocation.out.result({ tenantId, jobs: found.map(({ id, ...job }) => ({ jobId: id, ...job })) }, text + more);
      });
    },
  );

  const show = jobs
    .command('show')
    .description('Shows all that is known of a job: its record with body, result and error, and how far it is.')
    .argument('<id>', 'the job, as the command that published it said')
    .addOption(tenantOption())
    .addOption(waitOption())
    .addOption(timeoutOption());
  finishCommand(
    show,
    shell,
    'matcher jobs show 5f0c1f5e-4e0e-4a53-9f0b-6f7a3c1d2e4b --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async (invocation, { tenant, wait }: ShowOptions, jobId: string) => {
      if (!wait) return withRecords(invocation, tenant, (session) => showJob(invocation, session, jobId));
      await withTenant(invocation, tenant, async (session) => {
        const result = await session.jobs.finish(jobId, 'job');
        invocation.out.result({ jobId, state: 'SUCCEEDED', result }, resultText(result));
      });
    },
  );
}

async function showJob({ out, signal }: Invocation, session: RecordsSession, jobId: string): Promise<void> {
  const job = await session.records.read((db) => findJob(db, jobId));
  if (!job) {
    throw new MatcherError('JOB_NOT_FOUND', `The tenant has no record of a job ${JSON.stringify(jobId)}`, {
      hint: 'No worker has begun it yet, or its message could not be read and is among the dead letters.',
    });
  }
  const progress = job.state === 'RUNNING' ? await readProgress(session, jobId, signal) : null;
  const { id, ...details } = job;
  out.result({ jobId: id, ...details, progress }, jobDetailsText(job, progress));
}
