import type { Command } from 'commander';
import { readContextFile } from '../context-file.ts';
import { finishCommand, type Shell, tenantOption, timeoutOption } from '../invocation.ts';
import { makeOutputFolder } from '../local-files.ts';
import { reconcile } from '../reconciliation.ts';
import { reconciliationTable } from '../reconciliation-table.ts';
import { withTenantAndBucket } from '../tenant-session.ts';

interface Options {
  tenant?: string;
  output?: string;
  timeout?: number;
}

export function addReconcileCommand(program: Command, shell: Shell): void {
  const command = program
    .command('reconcile')
    .summary('take a context file through apply, ingest, match and export')
    .description(
      'Applies the context of FILE, loads the files of its sources, matches what is open and exports the reports. Running it again adds nothing twice.',
    )
    .argument('<file>', 'context file, YAML or JSON')
    .addOption(tenantOption())
    .option('--output <dir>', 'download the exports into this folder')
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher reconcile july.yaml --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --output reports/',
    async (invocation, options: Options, file: string) => {
      const contextFile = await readContextFile(file, { withFiles: true });
      if (options.output !== undefined) await makeOutputFolder(options.output);
      await withTenantAndBucket(invocation, options.tenant, async (session) => {
        const summary = await reconcile(invocation, session, contextFile, options.output);
        invocation.out.result(summary, reconciliationTable(summary));
      });
    },
  );
}
