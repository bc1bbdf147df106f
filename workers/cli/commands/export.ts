import { checkBody } from '@matcher/shared/jobs/client.ts';
import { reports } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { Report } from '../context-file.ts';
import { downloadExport } from '../file-transfer.ts';
import {
  contextOption,
  finishCommand,
  idempotencyKeyOption,
  required,
  type Shell,
  tenantOption,
  timeoutOption,
  waitOption,
} from '../invocation.ts';
import { exportText } from '../job-texts.ts';
import { checkOutputFile } from '../local-files.ts';
import { type JobOptions, publishJob } from '../publish-job.ts';
import { withTenantAndBucket } from '../tenant-session.ts';

interface Options extends JobOptions {
  context: string;
  report: Report;
  output?: string;
}

export function addExportCommand(program: Command, shell: Shell): void {
  const command = program
    .command('export')
    .description('Writes a report of a context as CSV.')
    .addOption(tenantOption())
    .addOption(contextOption())
    .addOption(required(new Option('--report <report>', 'what it is about').choices(reports)))
    .option('--output <file>', 'wait, and download it to this file')
    .addOption(idempotencyKeyOption())
    .addOption(waitOption())
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher export --context card-settlement --report MATCHED --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --output matched.csv',
    async (invocation, options: Options) => {
      const { tenant, context, report, output, idempotencyKey } = options;
      const body = { version: 1, context, report } as const;
      const label = `export ${report}`;
      if (output === undefined) {
        await publishJob(invocation, options, label, 'export.run', body, exportText);
        return;
      }
      checkBody('export.run', body);
      await checkOutputFile(output);
      await withTenantAndBucket(invocation, tenant, async ({ jobs, objects }) => {
        const jobId = await jobs.publish('export.run', body, { idempotencyKey });
        const result = await jobs.finish<'export.run'>(jobId, label);
        invocation.out.progress(label, 'downloading');
        await downloadExport(objects, result, output, invocation.signal);
        invocation.out.result({ jobId, state: 'SUCCEEDED', result, file: output }, exportText(result, output));
      });
    },
  );
}
