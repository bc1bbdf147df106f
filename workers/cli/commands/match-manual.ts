import { type Command, Option } from 'commander';
import { UsageError } from '../failures.ts';
import {
  byOption,
  contextOption,
  finishCommand,
  idempotencyKeyOption,
  required,
  type Shell,
  tenantOption,
  timeoutOption,
  waitOption,
} from '../invocation.ts';
import { manualText } from '../job-texts.ts';
import { type JobOptions, publishJob } from '../publish-job.ts';

interface Options extends JobOptions {
  context: string;
  left: string[];
  right: string[];
  reason?: string;
  by?: string;
}

export function addMatchManualCommand(program: Command, shell: Shell): void {
  const command = program
    .command('match-manual')
    .summary('match open records by hand')
    .description(
      'Makes a CONFIRMED group of open records that belong together, whatever the rules say. Both sides must come to the same sum in one currency, or --reason says why they don’t.',
    )
    .addOption(tenantOption())
    .addOption(contextOption())
    .addOption(required(new Option('--left <record...>', 'open records of left sources, each SOURCE:EXTERNAL_ID')))
    .addOption(required(new Option('--right <record...>', 'open records of right sources, each SOURCE:EXTERNAL_ID')))
    .option('--reason <text>', 'why; needed when the two sides do not balance')
    .addOption(byOption())
    .addOption(idempotencyKeyOption())
    .addOption(waitOption())
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher match-manual --left ledger:4711 ledger:4712 --right bank:R-9 --context card-settlement --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --wait',
    async (invocation, { context, left, right, reason, by, ...options }: Options) => {
      const sides = { left: left.map(recordOf), right: right.map(recordOf) };
      const body = { version: 1, context, ...sides, reason, decidedBy: by } as const;
      await publishJob(invocation, options, 'match-manual', 'matching.manual', body, manualText);
    },
  );
}

/** A source's name has no colon; what stands behind the first one is the record's. */
function recordOf(text: string): { source: string; externalId: string } {
  const colon = text.indexOf(':');
  if (colon > 0 && colon < text.length - 1) return { source: text.slice(0, colon), externalId: text.slice(colon + 1) };
  throw new UsageError('USAGE', `${JSON.stringify(text.slice(0, 80))} is not SOURCE:EXTERNAL_ID`);
}
