import { checkBody } from '@matcher/shared/jobs/client.ts';
import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import { type Command, Option } from 'commander';
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
import { decisionText } from '../job-texts.ts';
import { withTenant } from '../tenant-session.ts';

interface Options {
  tenant?: string;
  context: string;
  reason?: string;
  by?: string;
  rematch?: boolean;
  wait?: boolean;
  idempotencyKey?: string;
}

type Decision = 'confirm' | 'reject' | 'revoke';

const descriptions: Record<Decision, string> = {
  confirm: 'Confirms PROPOSED groups: they are right. All of them, or none.',
  reject:
    'Rejects PROPOSED groups: they are wrong. Their records are open again, and no run matches the same ones with each other again. All of them, or none.',
  revoke:
    'Revokes CONFIRMED groups: they are wrong after all. Their records are open again, and no run matches the same ones with each other again, unless with --rematch. All of them, or none.',
};

export const byOption = () => new Option('--by <name>', 'who decides; kept with the decision');

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
      async (invocation, { tenant, wait, idempotencyKey, ...options }: Options, groups: string[]) => {
        const type = `matching.${decision}` as const;
        const body = bodyOf(options, groups) as JobBodyInput<typeof type>;
        checkBody(type, body);
        await withTenant(invocation, tenant, async ({ jobs }) => {
          const jobId = await jobs.publish(type, body, { idempotencyKey });
          if (!wait) return invocation.out.result({ jobId }, jobId);
          const result = await jobs.finish<typeof type>(jobId, decision);
          invocation.out.result({ jobId, state: 'SUCCEEDED', result }, decisionText(result));
        });
      },
    );
  }
}

/** What is not given is not there. */
function bodyOf({ context, reason, by, rematch }: Omit<Options, 'wait'>, groups: readonly string[]): object {
  return {
    version: 1,
    context,
    groups,
    ...(reason === undefined ? {} : { reason }),
    ...(by === undefined ? {} : { decidedBy: by }),
    ...(rematch ? { rematch } : {}),
  };
}
