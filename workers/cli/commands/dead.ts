import { loadSettings } from '@matcher/shared/config/load.ts';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { DeadLetter } from '@matcher/shared/rabbitmq/dead-letter.ts';
import { readDeadLetters } from '@matcher/shared/rabbitmq/dead-letters.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { type Command, Option } from 'commander';
import { countOne, type Selection, selected } from '../dead-selection.ts';
import { countsText, deadDetailsText, deadDocument, deadTable } from '../dead-texts.ts';
import { workOnDeadLetters } from '../dead-work.ts';
import { finishCommand, type Invocation, type Shell, tenantOption, wholeNumber } from '../invocation.ts';
import { askBrokers, listTenants } from '../queue-counts.ts';
import { withRecordsAndVhost } from '../tenant-session.ts';
import { grouped, manyLines, table } from '../terminal-text.ts';

interface Options extends Selection {
  tenant?: string;
  limit?: number;
}

interface WorkOptions extends Options {
  yes?: boolean;
  cancelled?: boolean;
}

const example = '0190a3c2f1b87c3e9d4a5b6c7d8e9f00';

export function addDeadCommands(program: Command, shell: Shell): void {
  const dead = program
    .command('dead')
    .summary('list, show, replay and drop dead letters')
    .description(
      'Dead letters: messages that could not be done, in the queue matcher.dead of each tenant’s vhost. Looking at them changes nothing.',
    );

  const list = withSelection(dead.command('list'))
    .description('Lists a tenant’s dead letters, oldest first; without --tenant, counts those of every active tenant.')
    .option('--tenant <id>', 'the tenant whose dead letters are listed')
    .addOption(new Option('--limit <n>', 'show at most so many').argParser(wholeNumber).default(100));
  finishCommand(list, shell, `matcher dead list --tenant ${example} --reason CONTEXT_NOT_FOUND`, listDead);

  const show = withSelection(dead.command('show'))
    .description(
      'Shows dead letters whole: properties, headers, and the body as text or, if it is none, in hexadecimal.',
    )
    .addOption(tenantOption())
    .addOption(new Option('--limit <n>', 'show at most so many').argParser(wholeNumber).default(10));
  finishCommand(
    show,
    shell,
    `matcher dead show --tenant ${example} --id 5f0c1f5e-4e0e-4a53-9f0b-6f7a3c1d2e4b`,
    showDead,
  );

  const replay = withSelection(dead.command('replay'))
    .description(
      'Gives dead letters back to their job queues, oldest first, with fresh attempts. Each is removed only when the broker has confirmed its new message.',
    )
    .addOption(tenantOption())
    .addOption(new Option('--limit <n>', 'replay at most so many').argParser(wholeNumber))
    .option('--cancelled', 'also jobs that were cancelled, which otherwise stay dead letters')
    .option('--yes', 'do not ask, even if it is more than one');
  finishCommand(
    replay,
    shell,
    `matcher dead replay --tenant ${example} --reason CONTEXT_NOT_FOUND`,
    async (invocation, { tenant, limit, yes = false, cancelled = false, ...wanted }: WorkOptions) => {
      await withRecordsAndVhost(invocation, tenant, async (session) => {
        const work = { verb: 'replay', wanted: pick(wanted), limit, confirmed: yes, cancelled } as const;
        const { done: replayed, ...summary } = await workOnDeadLetters(invocation, shell, session, work);
        const stay =
          summary.cancelled === 0
            ? ''
            : `\n${grouped(summary.cancelled)} of cancelled jobs stay; --cancelled replays them, too.`;
        invocation.out.result({ ...summary, replayed }, doneText('Replayed', replayed, summary.byCode) + stay);
      });
    },
  );

  const drop = withSelection(dead.command('drop'))
    .description('Removes dead letters for ever. What their jobs’ records say stays.')
    .addOption(tenantOption())
    .addOption(new Option('--limit <n>', 'drop at most so many').argParser(wholeNumber))
    .option('--yes', 'do not ask, even if it is more than one');
  finishCommand(
    drop,
    shell,
    `matcher dead drop --tenant ${example} --reason TENANT_MISMATCH`,
    async (invocation, { tenant, limit, yes = false, ...wanted }: WorkOptions) => {
      await withRecordsAndVhost(invocation, tenant, async (session) => {
        const work = { verb: 'drop', wanted: pick(wanted), limit, confirmed: yes, cancelled: false } as const;
        const { tenantId, done, byCode } = await workOnDeadLetters(invocation, shell, session, work);
        invocation.out.result({ tenantId, dropped: done, byCode }, doneText('Dropped', done, byCode));
      });
    },
  );
}

function withSelection(command: Command): Command {
  return command
    .option('--type <type>', 'only messages of this type, such as matching.run')
    .option('--reason <code>', 'only those with this code, as matcher dead list shows it')
    .option('--id <job-id>', 'only those with this job id');
}

/** Without the options of the command line that are something else. */
function pick({ type, reason, id }: Selection): Selection {
  return {
    ...(type === undefined ? {} : { type }),
    ...(reason === undefined ? {} : { reason }),
    ...(id === undefined ? {} : { id }),
  };
}

function doneText(participle: string, count: number, byCode: Readonly<Record<string, number>>): string {
  if (count === 0) return `${participle} none.`;
  return `${participle} ${grouped(count)}: ${countsText(byCode)}.`;
}

async function listDead(invocation: Invocation, { tenant, limit = 0, ...wanted }: Options): Promise<void> {
  if (tenant === undefined && loadSettings('publisher').MULTI_TENANT_ENABLED) return countDead(invocation);
  await withRecordsAndVhost(invocation, tenant, async ({ connection, tenantId }) => {
    const shown: DeadLetter[] = [];
    const byCode: Record<string, number> = {};
    let total = 0;
    await readDeadLetters(connection, async (letters) => {
      for await (const { letter } of selected(letters, wanted, invocation)) {
        total++;
        countOne(byCode, letter.code);
        if (shown.length < limit) shown.push(letter);
      }
    });
    const more = total > shown.length ? `\nThese are the oldest ${shown.length}; --limit shows more.` : '';
    const text =
      total === 0
        ? 'There are no such dead letters.'
        : `${deadTable(shown)}\n\n${grouped(total)}: ${countsText(byCode)}.${more}`;
    invocation.out.result({ tenantId, total, byCode, deadLetters: shown }, text);
  });
}

async function showDead(invocation: Invocation, { tenant, limit = 0, ...wanted }: Options): Promise<void> {
  await withRecordsAndVhost(invocation, tenant, async ({ connection, tenantId }) => {
    const documents = await readDeadLetters(connection, async (letters) => {
      const found: ReturnType<typeof deadDocument>[] = [];
      for await (const { letter, message } of selected(letters, wanted, invocation)) {
        found.push(deadDocument(letter, message));
        if (found.length === limit) break;
      }
      return found;
    });
    if (documents.length === 0) {
      throw new MatcherError('DEAD_LETTER_NOT_FOUND', 'The tenant has no such dead letter', {
        hint: `matcher dead list --tenant ${tenantId} lists them.`,
      });
    }
    invocation.out.result({ tenantId, deadLetters: documents }, documents.map(deadDetailsText).join('\n\n'));
  });
}

async function countDead(invocation: Invocation): Promise<void> {
  const settings = loadSettings('publisher');
  const manager = createTenantManagerClient(settings);
  const tenants = await listTenants(settings, manager, invocation.signal);
  if (tenants instanceof MatcherError) throw tenants;
  const depths = await askBrokers(tenants, manager, invocation);
  const counts = tenants.map(({ id, name }) => {
    const found = depths.get(id);
    const problem = found instanceof MatcherError ? { code: found.code, message: found.message } : null;
    return { tenantId: id, name, dead: found && !(found instanceof MatcherError) ? found.dead : null, problem };
  });
  const total = counts.reduce((sum, { dead }) => sum + (dead ?? 0), 0);
  const rows = counts.map(({ tenantId, name, dead }) => [tenantId, name ?? '', dead ?? '?']);
  const problems = counts.flatMap(({ tenantId, problem }) =>
    problem ? [`! not counted: ${tenantId}: ${problem.message} [${problem.code}]`] : [],
  );
  const text = [table(['TENANT', 'NAME', 'DEAD'], rows), '', `${grouped(total)} dead letters.`, ...problems].join('\n');
  invocation.out.result(
    { total, tenants: counts },
    counts.length === 0 ? 'There are no active tenants.' : manyLines(text),
  );
}
