import { runMainJob } from './demo/main-job.ts';
import { type DemoOptions, help, readDemoOptions } from './demo/options.ts';
import { printSummary } from './demo/summary.ts';
import { startDeployment } from './deployment.ts';
import { readProcfile } from './fleet/procfile.ts';
import { runUntilStopped } from './until-stopped.ts';

/** Lines of the processes' logs that are shown when something went wrong. */
const shownOnFailure = 30;

let options: DemoOptions;
try {
  const read = readDemoOptions(process.argv.slice(2));
  if (read === 'help') {
    process.stdout.write(help);
    process.exit(0);
  }
  options = read;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\nSee npm run demo -- --help.\n`);
  process.exit(2);
}

const started = Date.now();
const say = (line: string) => {
  process.stderr.write(`[${((Date.now() - started) / 1000).toFixed(1).padStart(5)} s] ${line}\n`);
};
const log: string[] = [];
const output = (name: string, line: string) => {
  log.push(`${name} | ${line}`);
  if (log.length > 5000) log.splice(0, 1000);
  if (options.verbose) process.stderr.write(`${name} | ${line}\n`);
};
const showProblems = () => {
  const problems = log.filter((line) => /"level":"(warn|error|fatal)"/.test(line));
  if (options.verbose || problems.length === 0) return;
  process.stderr.write(`\nWhat the processes complained about (all of it with --verbose):\n`);
  process.stderr.write(`${problems.slice(-shownOnFailure).join('\n')}\n`);
};

await runUntilStopped(async (signal, fail) => {
  const commands = readProcfile();
  const counts = new Map([...commands.keys()].map((name) => [name, 1]));
  const deployment = await startDeployment({
    commands,
    counts,
    say,
    output,
    failed: (problem) => fail(new Error(problem)),
    signal,
  });
  try {
    say(`running: ${[...deployment.fleet.pids.keys()].join(', ')}`);
    const { summary, names, deathCode, differences } = await runMainJob(options, deployment.environment, say, signal);
    if (!options.json) process.stdout.write(`\n${printSummary(summary, names, deathCode)}\n\n`);
    for (const difference of differences) process.stderr.write(`WRONG: ${difference}\n`);
    if (differences.length > 0) showProblems();
    else say(options.context ? 'everything adds up' : 'every result is what the samples are known to hold');
    if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
    if (options.keep)
      say(`still running until Ctrl-C. In another terminal, here: . .matcher/env && npx matcher --help`);
    return { deployment, wait: options.keep, exitCode: differences.length > 0 ? 1 : 0 };
  } catch (error) {
    if (!signal.aborted) showProblems();
    await deployment.stop();
    throw error;
  }
});
