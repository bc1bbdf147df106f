import type { Command } from 'commander';
import { readContextFile } from '../context-file.ts';
import { finishCommand, idempotencyKeyOption, type Shell, tenantOption, timeoutOption } from '../invocation.ts';
import { type JobOptions, publishJob } from '../publish-job.ts';

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
    async (invocation, options: JobOptions, file: string) => {
      const { context } = await readContextFile(file, { withFiles: false });
      await publishJob(
        invocation,
        { ...options, wait: true },
        'apply',
        'context.apply',
        { version: 1, context },
        (result) => `${result.context} is applied (revision ${result.revision}).`,
      );
    },
  );
}
