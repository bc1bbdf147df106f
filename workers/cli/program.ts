import { Command, CommanderError } from 'commander';
import { addContextCommands } from './context.ts';
import { addExportCommand } from './export.ts';
import { describeFailure, exitStatus } from './failures.ts';
import { addIngestCommand } from './ingest.ts';
import { addJobCommand } from './job.ts';
import { addMatchCommand } from './match.ts';
import { addReconcileCommand } from './reconcile.ts';
import type { Shell } from './run.ts';
import { addTenantCommands } from './tenant.ts';
import { manyLines } from './terminal-text.ts';

function createProgram(shell: Shell): Command {
  const { stdout, stderr } = shell.streams;
  const program = new Command('matcher')
    .description('Publishes reconciliation jobs, follows them, and administers tenants.')
    .exitOverride()
    // The error itself is printed where all errors are.
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: () => {},
    })
    .showSuggestionAfterError()
    .addHelpText('after', '\nThe configuration comes from the environment; matcher COMMAND --help shows an example.');
  for (const addTo of [
    addReconcileCommand,
    addContextCommands,
    addIngestCommand,
    addMatchCommand,
    addExportCommand,
    addJobCommand,
    addTenantCommands,
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
  // Also of what can't be parsed, the error is to be a JSON document.
  const json = args.includes('--json');
  try {
    await createProgram(shell).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    report(error, shell, json);
    return exitStatus(error);
  }
}

function report(error: unknown, { streams: { stdout, stderr } }: Shell, json: boolean): void {
  const failure = describeFailure(error);
  if (json) {
    stdout.write(`${JSON.stringify({ error: failure })}\n`);
    return;
  }
  const hint = failure.hint === null ? '' : `\n${failure.hint}`;
  stderr.write(manyLines(`matcher: ${failure.message} [${failure.code}]${hint}\n`));
}
