import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** `npm test`: types, lint and every test. Arguments go to Vitest: `npm test -- test/unit`. */

const root = resolve(import.meta.dirname, '..');

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  testResults: { name: string; status: string; assertionResults: { status: string; fullName: string }[] }[];
}

let child: ReturnType<typeof spawn> | undefined;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // The bootstrap hands each signal on once; this process waits for its child's end.
  process.on(signal, () => child?.kill(signal));
}

const directory = await mkdtemp(join(tmpdir(), 'matcher-test-report-'));
// Tests start many short processes of the same code: compiled once, it takes each half the time to begin.
const env = { ...process.env, NODE_COMPILE_CACHE: join(directory, 'compiled') };

/** Runs one of the project's tools on this Node and returns its exit status. */
async function run(script: string, args: string[]): Promise<number> {
  child = spawn(process.execPath, [join(root, 'node_modules', script), ...args], { cwd: root, env, stdio: 'inherit' });
  return await new Promise((ended) => child?.once('exit', (code, signal) => ended(signal ? 1 : (code ?? 1))));
}

const problems: string[] = [];
const check = async (what: string, script: string, args: string[]) => {
  process.stdout.write(`${what} …\n`);
  if ((await run(script, args)) !== 0) problems.push(what);
};

await check('types', 'typescript/bin/tsc', ['--noEmit']);
await check('lint', '@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']);

const file = join(directory, 'report.json');
try {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  await check('tests', 'vitest/vitest.mjs', ['run', ...reporters, ...process.argv.slice(2)]);
  const report = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as Report,
    () => undefined,
  );
  // A test file that could not even be read has no failed tests of its own.
  const broken = report?.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  );
  const failed = report ? report.numFailedTests + (broken?.length ?? 0) : 1;
  for (const problem of problems) process.stdout.write(`failed: ${problem}\n`);
  const skipped =
    report?.testResults.flatMap(({ assertionResults }) =>
      assertionResults.filter(({ status }) => status === 'skipped' || status === 'pending'),
    ) ?? [];
  for (const { fullName } of skipped) process.stdout.write(`skipped: ${fullName}\n`);
  const others = problems.filter((what) => what !== 'tests').length;
  process.stdout.write(`${report?.numPassedTests ?? 0} passed, ${failed + others} failed\n`);
} finally {
  await rm(directory, { recursive: true, force: true });
}
process.exitCode = problems.length > 0 ? 1 : 0;
