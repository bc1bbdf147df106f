import { MatcherError } from '@matcher/shared/errors.ts';
import { matchId } from '@matcher/shared/jobs/contracts/bodies.ts';
import { type Command, Option } from 'commander';
import { UsageError } from '../failures.ts';
import { groupsTable, groupText } from '../group-tables.ts';
import { contextOption, finishCommand, type Shell, tenantOption, wholeNumber } from '../invocation.ts';
import { findGroup, type GroupStatus, groupStatuses, listGroups } from '../match-groups.ts';
import { withRecords } from '../tenant-session.ts';

interface ListOptions {
  tenant?: string;
  context: string;
  status?: GroupStatus;
  limit: number;
}

interface ShowOptions {
  tenant?: string;
}

export function addGroupsCommands(program: Command, shell: Shell): void {
  const groups = program
    .command('groups')
    .description('Shows what was matched with what. Deciding about groups: matcher confirm, reject, revoke.');

  const list = groups
    .command('list')
    .description('Lists groups of a context, newest first.')
    .addOption(tenantOption())
    .addOption(contextOption())
    .addOption(new Option('--status <status>', 'only these').choices(groupStatuses))
    .addOption(new Option('--limit <n>', 'at most so many').argParser(wholeNumber).default(50));
  finishCommand(
    list,
    shell,
    'matcher groups list --context card-settlement --status PROPOSED --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async (invocation, { tenant, context, status, limit }: ListOptions) => {
      await withRecords(invocation, tenant, async ({ records, tenantId }) => {
        const found = (await records.read((db) => listGroups(db, { context, status }, limit))) ?? [];
        const text = found.length === 0 ? 'There is no such group.' : groupsTable(found);
        const more = found.length < limit ? '' : `\nThese are the newest ${limit}; --limit shows more.`;
        invocation.out.result({ tenantId, context, groups: found }, text + more);
      });
    },
  );

  const show = groups
    .command('show')
    .description('Shows a group: its records, how sure it is and why, and what persons decided about it.')
    .argument('<id>', 'the group, as the list, events and the MATCHED report have it')
    .addOption(tenantOption());
  finishCommand(
    show,
    shell,
    'matcher groups show 67108864 --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async (invocation, { tenant }: ShowOptions, id: string) => {
      if (!matchId.safeParse(id).success) {
        throw new UsageError('USAGE', `${JSON.stringify(id.slice(0, 40))} is no group’s id: it takes a whole number`);
      }
      await withRecords(invocation, tenant, async ({ records }) => {
        const group = await records.read((db) => findGroup(db, id));
        if (!group) throw new MatcherError('GROUP_NOT_FOUND', `The tenant has no group ${id}`);
        invocation.out.result(group, groupText(group));
      });
    },
  );
}
