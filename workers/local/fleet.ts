import { startDeployment } from './deployment.ts';
import { readCounts, readProcfile } from './fleet/procfile.ts';
import { runUntilStopped } from './until-stopped.ts';

const help = `Usage: npm run fleet -- [NAME=COUNT ...]

Runs the processes of the Procfile, one of each unless counted otherwise, with the
services they need: those whose addresses are in the environment, else private ones.
Ctrl-C lets running jobs finish and stops everything; a second Ctrl-C ends at once.

  npm run fleet -- matching=2 export=1
`;

const args = process.argv.slice(2);
if (args.includes('--help') || args.includes('-h')) {
  process.stdout.write(help);
  process.exit(0);
}
const commands = readProcfile();
let counts: Map<string, number>;
try {
  counts = readCounts(args, commands.keys());
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(2);
}

const width = Math.max(...[...commands.keys()].map((name) => name.length)) + 3;
const colours = [36, 33, 32, 35, 34];
const print = (name: string, line: string) => {
  const kind = [...commands.keys()].indexOf(name.split('.')[0] ?? '');
  const colour = kind < 0 ? 0 : colours[kind % colours.length];
  const prefix = `${name.padEnd(width)}|`;
  process.stdout.write(process.stdout.isTTY ? `\x1b[${colour}m${prefix}\x1b[0m ${line}\n` : `${prefix} ${line}\n`);
};

await runUntilStopped(async (signal, fail) => {
  const deployment = await startDeployment({
    commands,
    counts,
    say: (line) => print('fleet', line),
    output: print,
    failed: (problem) => fail(new Error(problem)),
    signal,
  });
  print('fleet', `running. In another terminal, here: . .matcher/env && npx matcher tenants`);
  return { deployment, wait: true };
});
