import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import { type Command, Option } from 'commander';
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
import { decisionText } from '../job-texts.ts';
import { type JobOptions, publishJob } from '../publish-job.ts';

interface Options extends JobOptions {
  context: string;
  reason?: string;
  by?: string;
  rematch?: boolean;
}

type Decision = 'confirm' | 'reject' | 'revoke';

const descriptions: Record<Decision, string> = {
  confirm: 'Confirms PROPOSED groups: they are right. All of them, or none.',
  reject:
    'Rejects PROPOSED groups: they are wrong. Their records are open again, and no run matches the same ones with each other again. All of them, or none.',
  revoke:
    'Revokes CONFIRMED groups: they are wrong after all. Their records are open again, and no run matches the same ones with each other again, unless with --rematch. All of them, or none.',
};

export function addDecisionCommands(program: Command, shell: Shell): void {
  for (const decision of ['confirm', 'reject', 'revoke'] as const) {
    const reason = new Option('--reason <text>', 'why; kept with the decision');
    const command = program
      .command(decision)
      .summary(`${decision} groups`)
      .description(descriptions[decision])
      .argument('<group...>', 'ids of groups, as matcher groups list shows them')
      .addOption(tenantOption())
      .addOption(contextOption())
      .addOption(decision === 'confirm' ? reason : required(reason))
      .addOption(byOption());
    if (decision === 'revoke') command.option('--rematch', 'let later runs match the same records again');
    command.addOption(idempotencyKeyOption()).addOption(waitOption()).addOption(timeoutOption());
    const why = decision === 'confirm' ? '' : ' --reason "another customer’s payment"';
    finishCommand(
      command,
      shell,
      `matcher ${decision} 67108864 67108865 --context card-settlement${why} --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --wait`,
      async (invocation, { context, reason, by, rematch, ...options }: Options, groups: string[]) => {
        const type = `matching.${decision}` as const;
        const body = { version: 1, context, groups, reason, decidedBy: by, ...(rematch && { rematch }) };
        await publishJob(invocation, options, decision, type, body as JobBodyInput<typeof type>, decisionText);
      },
    );
  }
}
