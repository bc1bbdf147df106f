import { Command, CommanderError, Option } from 'commander';
import { addCancelCommand } from './commands/cancel.ts';
import { addContextCommands } from './commands/context.ts';
import { addDeadCommands } from './commands/dead.ts';
import { addDecisionCommands } from './commands/decide.ts';
import { addExportCommand } from './commands/export.ts';
import { addFetcherCommands } from './commands/fetcher.ts';
import { addGroupsCommands } from './commands/groups.ts';
import { addIngestCommand } from './commands/ingest.ts';
import { addJobsCommands } from './commands/jobs.ts';
import { addMatchCommand } from './commands/match.ts';
import { addMatchManualCommand } from './commands/match-manual.ts';
import { addObjectsCommand } from './commands/objects.ts';
import { addReconcileCommand } from './commands/reconcile.ts';
import { addSchedulesCommand } from './commands/schedules.ts';
import { addTenantCommands } from './commands/tenant.ts';
import { addTenantsCommand } from './commands/tenants.ts';
import { ContextFileError } from './context-file.ts';
import { describeFailure, exitStatus } from './failures.ts';
import type { Shell } from './invocation.ts';
import { manyLines } from './terminal-text.ts';

function createProgram(shell: Shell): Command {
  const { stdout, stderr } = shell.streams;
  const program = new Command('matcher')
    .description(
      'Publishes reconciliation jobs, follows, cancels and replays them, administers tenants, and shows the fleet.',
    )
    .exitOverride()
    // Errors are printed in one place, below.
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: () => {},
    })
    // Every command has it, and its help says so; here it may also stand before the command.
    .addOption(new Option('--json').hideHelp())
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nThe configuration comes from the environment. Every command has an example: matcher COMMAND --help',
    );
  for (const addTo of [
    addReconcileCommand,
    addContextCommands,
    addIngestCommand,
    addMatchCommand,
    addGroupsCommands,
    addDecisionCommands,
    addMatchManualCommand,
    addExportCommand,
    addJobsCommands,
    addCancelCommand,
    addDeadCommands,
    addSchedulesCommand,
    addTenantCommands,
    addTenantsCommand,
    addObjectsCommand,
    addFetcherCommands,
  ]) {
    addTo(program, shell);
  }
  return program;
}

/**
 * Runs one command line.
 *
 * @param args without node and the script.
 * @returns the exit status: 0 done, 1 failed, 2 not understood, 130 interrupted.
 */
export async function runProgram(args: readonly string[], shell: Shell): Promise<number> {
  try {
    await createProgram(shell).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    report(error, shell);
    return exitStatus(error);
  }
}

function report(error: unknown, { streams: { stdout, stderr }, json }: Shell): void {
  const failure = describeFailure(error);
  if (json) {
    stdout.write(`${JSON.stringify({ error: failure })}\n`);
    return;
  }
  if (error instanceof ContextFileError) stderr.write(manyLines(`${failure.message}\n`));
  const message = error instanceof ContextFileError ? error.summary : failure.message;
  const hint = failure.hint === null ? '' : `\n${failure.hint}`;
  stderr.write(manyLines(`matcher: ${message} [${failure.code}]${hint}\n`));
}
