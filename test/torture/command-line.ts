import { parseArgs } from 'node:util';
import type { PlanOptions } from './plan.ts';

export const help = `Usage: npm run torture -- [--minutes M] [--seed N] [options]

Publishes jobs of all types for many tenants, and lets schedules fire, while workers, schedulers,
servers, connections, credentials and publishers are struck, as a plan says that is drawn from the seed. Then it waits until the fleet has
come to rest, and compares what was confirmed to publishers with what is in databases, bucket and
event queues. Exit status 1 when anything is lost, twice or foreign.

  --minutes M      how long it strikes (default 5; a part of a minute, such as 0.5, is fine)
  --seed N         the plan (default: a new one, which is printed)
  --tenants N      2 to 99 (default 20)
  --workers N      processes of each kind: ingest, matching, export (default 2)
  --publishers N   publisher processes (default 3)
  --rate N         jobs a second (default 10)
  --rest S         seconds that the fleet may take to come to rest (default 180)
  --keep-logs DIR  keeps the logs of all processes there
  --plan           prints the plan and does nothing
  --json           prints a report as JSON to standard output; progress goes to standard error
  --help

Its PostgreSQL, RabbitMQ and Redis are its own; the storage is the one whose address is in the
environment, else a private one. Ctrl-C ends it, and leaves nothing running.
`;

export interface CommandLine extends PlanOptions {
  rest: number;
  keepLogs: string | undefined;
  planOnly: boolean;
  json: boolean;
  help: boolean;
}

/** @throws Error with what is wrong, for a person. */
export function readCommandLine(args: readonly string[]): CommandLine {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '5' },
      seed: { type: 'string' },
      tenants: { type: 'string', default: '20' },
      workers: { type: 'string', default: '2' },
      publishers: { type: 'string', default: '3' },
      rate: { type: 'string', default: '10' },
      rest: { type: 'string', default: '180' },
      'keep-logs': { type: 'string' },
      plan: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const number = (name: string, text: string, min: number, max: number, whole = true) => {
    const value = Number(text);
    if (text.trim() !== '' && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
    throw new Error(
      `--${name} takes a ${whole ? 'whole ' : ''}number from ${min} to ${max}; got ${JSON.stringify(text)}`,
    );
  };
  const newSeed = String(Math.floor(Math.random() * 1_000_000));
  return {
    minutes: number('minutes', values.minutes, 0.05, 24 * 60, false),
    seed: number('seed', values.seed ?? newSeed, 0, 2 ** 32 - 1),
    tenants: number('tenants', values.tenants, 2, 99),
    workers: number('workers', values.workers, 1, 20),
    publishers: number('publishers', values.publishers, 1, 20),
    rate: number('rate', values.rate, 0.1, 1000, false),
    rest: number('rest', values.rest, 1, 3600),
    keepLogs: values['keep-logs'],
    planOnly: values.plan,
    json: values.json,
    help: values.help,
  };
}
