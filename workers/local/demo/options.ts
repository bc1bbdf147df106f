import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { callerDirectory } from '../paths.ts';

export interface DemoOptions {
  /** A user's own context file instead of the two samples. */
  context: string | undefined;
  keep: boolean;
  json: boolean;
  verbose: boolean;
  seed: number;
  records: number;
}

export const help = `Usage: npm run demo -- [options]

Starts the services, a Tenant Manager and the workers; onboards two tenants while the
workers run; reconciles a card settlement for one and a bank statement for the other at
the same time; checks the result against what is known to be right; and shows what
becomes of a message that claims the wrong tenant.

  --context FILE  reconcile your own context file, for both tenants
  --keep          leave everything running afterwards and say how to use it
  --json          print the summary as one line of JSON at the end (npm run -s keeps npm quiet)
  --records N     records a side of the samples (default 10000)
  --seed N        seed of the samples (default 1)
  --verbose       show the logs of the processes
  --help          this
`;

/** @throws Error with what is wrong, for a person. */
export function readDemoOptions(args: string[]): DemoOptions | 'help' {
  const { values } = parseArgs({
    args,
    options: {
      context: { type: 'string' },
      keep: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      seed: { type: 'string', default: '1' },
      records: { type: 'string', default: '10000' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const context = values.context === undefined ? undefined : resolve(callerDirectory, values.context);
  if (context !== undefined && !existsSync(context)) throw new Error(`There is no context file ${context}.`);
  return {
    context,
    keep: values.keep,
    json: values.json,
    verbose: values.verbose,
    seed: wholeNumber('--seed', values.seed, 0, 2 ** 31),
    records: wholeNumber('--records', values.records, 100, 5_000_000),
  };
}

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new Error(`${option} takes a whole number from ${min} to ${max}, not ${JSON.stringify(text)}.`);
  }
  return value;
}
