import { ServicesError } from '../../workers/local/services/environment.ts';
import { type CommandLine, help, readCommandLine } from './command-line.ts';
import { describePlan, makePlan } from './plan.ts';
import { describeReport } from './report.ts';
import { torture } from './torture.ts';

/** `npm run torture`: the whole fleet, struck from all sides, and a look at what it has made of that. */

let options: CommandLine;
try {
  options = readCommandLine(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${help}`);
  process.exit(2);
}
if (options.help) {
  process.stdout.write(help);
  process.exit(0);
}
const say = (line: string) => void (options.json ? process.stderr : process.stdout).write(`${line}\n`);
if (options.planOnly) {
  for (const line of describePlan(makePlan(options))) process.stdout.write(`${line}\n`);
  process.exit(0);
}

const interrupted = new AbortController();
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => {
    if (!interrupted.signal.aborted) say('stopping');
    process.exitCode = status;
    interrupted.abort();
  });
}

try {
  const report = await torture({ ...options, say, signal: interrupted.signal });
  for (const line of describeReport(report)) say(line);
  if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exitCode = report.findings.length > 0 ? 1 : 0;
} catch (error) {
  if (!interrupted.signal.aborted) {
    say(error instanceof ServicesError ? error.message : String((error as Error).stack));
    process.exitCode = 1;
  }
}
process.exit();
