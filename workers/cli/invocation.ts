import { createInterface } from 'node:readline/promises';
import { isIdempotencyKey } from '@matcher/shared/jobs/message.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { Interrupted, UsageError, WaitTimeout } from './failures.ts';
import { createOutput, type Output, type Streams } from './output.ts';

/** One call of one command. */
export interface Invocation {
  readonly out: Output;
  /** Aborted when the user interrupts, or --timeout is over; its reason says which. */
  readonly signal: AbortSignal;
}

/** What all commands share: the streams, and the user's wish to stop. */
export interface Shell {
  readonly streams: Streams;
  readonly interrupted: AbortSignal;
  /** Asks the person at the terminal; absent where there is none. */
  readonly ask?: (question: string, signal: AbortSignal) => Promise<boolean>;
  /** Whether --json stands anywhere in the command line: the error of one that can't be understood is a document too. */
  readonly json: boolean;
}

interface CommonOptions {
  timeout?: number;
}

/** How long (ms) work that was told to stop may take to say what becomes of it. */
const grace = 2000;

/** Asks a yes-or-no question on the terminal. What is not clearly yes is no, and so is the end of the input. */
export async function askOnTerminal(question: string, signal: AbortSignal): Promise<boolean> {
  // The terminal stays in its own mode, in which Ctrl-C reaches the process.
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    const answer = await Promise.race([lines.question(`${question} [y/N] `, { signal }), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
    signal.throwIfAborted();
  }
}

/** Adds --json and the example to a command, and gives its action an {@link Invocation}. */
export function finishCommand<Options extends object, Arguments extends (string | string[])[]>(
  command: Command,
  shell: Shell,
  example: string,
  action: (invocation: Invocation, options: Options & CommonOptions, ...args: Arguments) => Promise<void>,
): void {
  command
    .option('--json', 'print exactly one JSON document on standard output')
    .addHelpText('after', `\nExample:\n  ${example}`)
    .action(async (...given: unknown[]) => {
      const options = given.at(-2) as Options & CommonOptions;
      checkRequired(command);
      const timeout = new AbortController();
      const ms = options.timeout === undefined ? undefined : options.timeout * 1000;
      const timer = ms && setTimeout(() => timeout.abort(new WaitTimeout(`Not done after ${options.timeout} s`)), ms);
      const signal = AbortSignal.any([shell.interrupted, timeout.signal]);
      const out = createOutput(shell.json, shell.streams);
      try {
        await Promise.race([action({ out, signal }, options, ...(given.slice(0, -2) as Arguments)), givenUp(signal)]);
      } finally {
        clearTimeout(timer);
        out.clear();
      }
    });
}

/** Rejects when the work has been told to stop and does not: it waits for a server that does not answer. */
function givenUp(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => setTimeout(() => reject(signal.reason), grace).unref(), { once: true });
  });
}

const requiredOptions = new WeakSet<Option>();

/**
 * Marks an option without which its command does nothing. The library's own way would report a missing option before a
 * mistyped one, which is most often what made it missing.
 */
export function required(option: Option): Option {
  requiredOptions.add(option);
  option.description += ' (required)';
  return option;
}

function checkRequired(command: Command): void {
  const missing = command.options
    .filter((option) => requiredOptions.has(option) && command.getOptionValue(option.attributeName()) === undefined)
    .map(({ flags }) => flags);
  if (missing.length === 0) return;
  throw new UsageError('USAGE', `${command.name()} needs ${missing.join(', ')}`);
}

export const tenantOption = () => new Option('--tenant <id>', 'the tenant (required, except in single-tenant mode)');

export const contextOption = () => required(new Option('--context <name>', 'the context, as it was applied'));

export const byOption = () => new Option('--by <name>', 'who decides; kept with the decision');

export const waitOption = () => new Option('--wait', 'follow the job and print its result');

export const idempotencyKeyOption = () =>
  new Option(
    '--idempotency-key <key>',
    'your own name for this request: repeated with the same one, it is done once and ends as the first did',
  ).argParser((text: string) => {
    if (isIdempotencyKey(text)) return text;
    throw new InvalidArgumentError('It takes 1 to 255 printable ASCII characters without spaces.');
  });

export const timeoutOption = () =>
  new Option('--timeout <sec>', 'wait at most so many seconds; the job itself goes on').argParser(wholeNumber);

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 2_000_000) {
    throw new InvalidArgumentError('It takes a whole number from 1 to 2000000.');
  }
  return value;
}

/** @returns seconds. */
export function duration(text: string): number {
  const [, count, unit] = /^(\d{1,7})([smhd])$/.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError('It takes a time such as 90s, 30m, 2h or 7d.');
  return Number(count) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit as 's' | 'm' | 'h' | 'd'];
}

/** The user's Ctrl-C as a signal. A second one ends the process at once. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  process.on('SIGINT', () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new Interrupted());
  });
  return controller.signal;
}
