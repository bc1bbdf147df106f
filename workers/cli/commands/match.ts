import { checkBody } from '@matcher/shared/jobs/client.ts';
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
import { withTenant } from '../tenant-session.ts';

interface Options {
  tenant?: string;
  context: string;
  dryRun?: boolean;
  wait?: boolean;
  idempotencyKey?: string;
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
    async (invocation, { tenant, context, dryRun, wait, idempotencyKey }: Options) => {
      const body = { version: 1, context, mode: dryRun ? 'DRY_RUN' : 'COMMIT' } as const;
      checkBody('matching.run', body);
      await withTenant(invocation, tenant, async ({ jobs }) => {
        const jobId = await jobs.publish('matching.run', body, { idempotencyKey });
        if (!wait && !dryRun) return invocation.out.result({ jobId }, jobId);
        const result = await jobs.finish<'matching.run'>(jobId, 'match');
        const text = dryRun ? dryRunText(result) : matchingText(result);
        invocation.out.result({ jobId, state: 'SUCCEEDED', result }, text);
      });
    },
  );
}
