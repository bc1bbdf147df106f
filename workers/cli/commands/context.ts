import type { Command } from 'commander';
import { readContextFile } from '../context-file.ts';
import { finishCommand, idempotencyKeyOption, type Shell, tenantOption, timeoutOption } from '../invocation.ts';
import { withTenant } from '../tenant-session.ts';

interface Options {
  tenant?: string;
  idempotencyKey?: string;
}

export function addContextCommands(program: Command, shell: Shell): void {
  const context = program.command('context').description('What is compared with what, and by which rules.');
  const apply = context
    .command('apply')
    .description('Creates the context of FILE, or gives it its new definition, and waits until that is done.')
    .argument('<file>', 'context file, YAML or JSON; the files that it names are not read')
    .addOption(tenantOption())
    .addOption(idempotencyKeyOption())
    .addOption(timeoutOption());
  finishCommand(
    apply,
    shell,
    'matcher context apply july.yaml --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async (invocation, { tenant, idempotencyKey }: Options, file: string) => {
      const { context } = await readContextFile(file, { withFiles: false });
      await withTenant(invocation, tenant, async ({ jobs }) => {
        const jobId = await jobs.publish('context.apply', { version: 1, context }, { idempotencyKey });
        const result = await jobs.finish<'context.apply'>(jobId, 'apply');
        invocation.out.result(
          { jobId, state: 'SUCCEEDED', result },
          `${result.context} is applied (revision ${result.revision}).`,
        );
      });
    },
  );
}
