import { type Command, InvalidArgumentError, Option } from 'commander';
import { Interrupted, WaitTimeout } from './failures.ts';
import { createOutput, type Output, type Streams } from './output.ts';

/** One call of one command. */
export interface Run {
  readonly out: Output;
  /** Aborted when the user interrupts, or --timeout is over; its reason says which. */
  readonly signal: AbortSignal;
}

/** What all commands share: the streams, and the user's wish to stop. */
export interface Shell {
  readonly streams: Streams;
  readonly interrupted: AbortSignal;
}

interface CommonOptions {
  json?: boolean;
  timeout?: number;
}

/** Adds --json and the example to a command, and gives its action a {@link Run}. */
export function finishCommand<Options extends object, Arguments extends string[]>(
  command: Command,
  shell: Shell,
  example: string,
  action: (run: Run, options: Options & CommonOptions, ...args: Arguments) => Promise<void>,
): void {
  command
    .addOption(new Option('--json', 'print exactly one JSON document on standard output'))
    .addHelpText('after', `\nExample:\n  ${example}`)
    .action(async (...given: unknown[]) => {
      const options = given.at(-2) as Options & CommonOptions;
      const timeout = new AbortController();
      const ms = options.timeout === undefined ? undefined : options.timeout * 1000;
      const timer = ms && setTimeout(() => timeout.abort(new WaitTimeout(`Not done after ${options.timeout} s`)), ms);
      const run: Run = {
        out: createOutput(options.json === true, shell.streams),
        signal: AbortSignal.any([shell.interrupted, timeout.signal]),
      };
      try {
        await action(run, options, ...(given.slice(0, -2) as Arguments));
      } finally {
        clearTimeout(timer);
        run.out.clear();
      }
    });
}

export const tenantOption = () =>
  new Option('--tenant <id>', 'the tenant; may be left out in single-tenant mode, where there is only one');

export const contextOption = () =>
  new Option('--context <name>', 'the context, as it was applied').makeOptionMandatory();

export const waitOption = () => new Option('--wait', 'follow the job and print its result');

export const timeoutOption = () =>
  new Option('--timeout <sec>', 'wait at most so many seconds; the job itself goes on').argParser(wholeNumber);

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 2_000_000) {
    throw new InvalidArgumentError('It takes a whole number from 1 to 2000000.');
  }
  return value;
}

/** The user's Ctrl-C as a signal. A second one ends the process at once. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  process.on('SIGINT', () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new Interrupted());
    // Whatever does not listen to the signal, such as an attempt to connect, is not waited for.
    setTimeout(() => process.exit(130), 3000).unref();
  });
  return controller.signal;
}
