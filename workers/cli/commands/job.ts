import { MatcherError } from '@matcher/shared/errors.ts';
import type { Command } from 'commander';
import { JobFailed } from '../failures.ts';
import { finishCommand, type Shell, tenantOption, timeoutOption, waitOption } from '../invocation.ts';
import { resultText } from '../job-texts.ts';
import { withTenant } from '../tenant-session.ts';

interface Options {
  tenant?: string;
  wait?: boolean;
}

export function addJobCommand(program: Command, shell: Shell): void {
  const command = program
    .command('job')
    .description('Shows how a job is, and its result when it has one.')
    .argument('<id>', 'the job, as the command that published it said')
    .addOption(tenantOption())
    .addOption(waitOption())
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher job 5f0c1f5e-4e0e-4a53-9f0b-6f7a3c1d2e4b --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --wait',
    async (invocation, { tenant, wait }: Options, jobId: string) => {
      await withTenant(invocation, tenant, async ({ client, jobs }) => {
        if (wait) {
          const result = await jobs.finish(jobId, 'job');
          return invocation.out.result({ jobId, state: 'SUCCEEDED', result }, resultText(result));
        }
        const row = await client.read(jobId);
        if (!row) {
          throw new MatcherError('JOB_NOT_FOUND', `The tenant has no record of a job ${JSON.stringify(jobId)}`, {
            hint: 'No worker has begun it yet, or its message could not be read and is among the dead letters.',
          });
        }
        if (row.state === 'FAILED' && row.error) throw new JobFailed(jobId, row.type, row.error);
        const { type, state, attempt, result, error } = row;
        const why = error ? ` (${error.code}: ${error.message})` : '';
        const text = state === 'SUCCEEDED' ? resultText(result) : `${type} is ${state}, attempt ${attempt}${why}`;
        invocation.out.result({ jobId, type, state, attempt, result, error }, text);
      });
    },
  );
}
