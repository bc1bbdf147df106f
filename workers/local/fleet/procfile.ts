import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../paths.ts';

/** The kinds of processes there are, and the command of each, in the Procfile's order. */
export function readProcfile(): ReadonlyMap<string, string> {
  const processes = new Map<string, string>();
  for (const line of readFileSync(join(root, 'Procfile'), 'utf8').split('\n')) {
    const [, name, command] = /^([A-Za-z0-9_-]+):\s*(.+)$/.exec(line) ?? [];
    if (name && command) processes.set(name, command);
  }
  return processes;
}

/**
 * How many processes of each kind are wanted: one, unless `NAME=COUNT` says otherwise.
 *
 * @throws Error with what is wrong, for a person.
 */
export function readCounts(args: readonly string[], kinds: Iterable<string>): Map<string, number> {
  const counts = new Map([...kinds].map((name) => [name, 1]));
  for (const arg of args) {
    const [, name, count] = /^([^=]+)=(\d{1,3})$/.exec(arg) ?? [];
    if (!name || !counts.has(name)) {
      throw new Error(
        `${JSON.stringify(arg)} is not understood. It takes NAME=COUNT; the names are ${[...counts.keys()].join(', ')}.`,
      );
    }
    counts.set(name, Number(count));
  }
  return counts;
}
