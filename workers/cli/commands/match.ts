import type { Command } from 'commander';
import { dryRunText } from '../dry-run-text.ts';
import {
  contextOption,
  finishCommand,
  idempotencyKeyOption,
  type Shell,
  tenantOption,
  timeoutOption,
  waitOption,
} from '../invocation.ts';
import { matchingText } from '../job-texts.ts';
import { type JobOptions, publishJob } from '../publish-job.ts';

interface Options extends JobOptions {
  context: string;
  dryRun?: boolean;
}

export function addMatchCommand(program: Command, shell: Shell): void {
  const command = program
    .command('match')
    .description('Matches what is open in a context.')
    .addOption(tenantOption())
    .addOption(contextOption())
    .option('--dry-run', 'wait, show what would be matched and what would stay open, and change nothing')
    .addOption(idempotencyKeyOption())
    .addOption(waitOption())
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher match --context card-settlement --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --wait',
    async (invocation, { context, dryRun, ...options }: Options) => {
      const body = { version: 1, context, mode: dryRun ? 'DRY_RUN' : 'COMMIT' } as const;
      if (dryRun) options.wait = true;
      await publishJob(invocation, options, 'match', 'matching.run', body, dryRun ? dryRunText : matchingText);
    },
  );
}
