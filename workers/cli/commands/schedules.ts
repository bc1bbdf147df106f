import { nextFiring } from '@matcher/shared/schedules/cron.ts';
import { type ListedSchedule, listSchedules } from '@matcher/shared/schedules/read-schedules.ts';
import type { Command } from 'commander';
import { finishCommand, type Shell, tenantOption } from '../invocation.ts';
import { withRecords } from '../tenant-session.ts';
import { table } from '../terminal-text.ts';

interface Options {
  tenant?: string;
}

export function addSchedulesCommand(program: Command, shell: Shell): void {
  const command = program
    .command('schedules')
    .description('Lists the contexts that are matched by a schedule: when next, and what became of the last run.')
    .addOption(tenantOption());
  finishCommand(
    command,
    shell,
    'matcher schedules --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async (invocation, { tenant }: Options) => {
      await withRecords(invocation, tenant, async ({ records, tenantId }) => {
        const found = (await records.read(listSchedules)) ?? [];
        const now = new Date();
        const schedules = found.map((one) => ({
          ...one,
          next: one.active ? nextFiring(one, now).toISOString() : null,
        }));
        const text = schedules.length === 0 ? 'No context has a schedule.' : schedulesTable(schedules);
        invocation.out.result({ tenantId, schedules }, text);
      });
    },
  );
}

function schedulesTable(schedules: readonly (ListedSchedule & { next: string | null })[]): string {
  return table(
    ['CONTEXT', 'CRON', 'ZONE', 'NEXT', 'LAST JOB', 'STATE'],
    schedules.map(({ context, cron, timezone, next, last }) => [
      context,
      cron,
      timezone,
      next ?? 'not active',
      last?.jobId ?? '',
      last?.state ?? '',
    ]),
  );
}
