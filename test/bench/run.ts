import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ServicesError } from '../../workers/local/services/environment.ts';
import { startServices } from '../../workers/local/services/start.ts';

/** `npm run bench -- NAME`: starts the services, runs one program of this folder in a process of its own, and stops them. */

const names = globSync('*.bench.ts', { cwd: import.meta.dirname })
  .map((file) => basename(file, '.bench.ts'))
  .sort();
const help = `Measures against a baseline in the same run, on real servers that are started for it.

  npm run bench -- NAME [--records N | --tenants N]
                             one of: ${names.join(', ')}
  --records N                for those that match: a trial with so many records a side, of match-history so many settled ones
  --tenants N                for tenants: a trial with so many that are known

Prints a table and, as its last line, JSON: {"bench":NAME,"ratio":r,"limit":l,…}. A ratio above its limit exits 1.
`;

const say = (line: string) => void process.stderr.write(`${line}\n`);
const [name, ...more] = process.argv.slice(2);
if (name === '--help' || name === '-h') {
  process.stdout.write(help);
  process.exit(0);
}
const size = name?.startsWith('match-') ? '--records' : name === 'tenants' ? '--tenants' : undefined;
const isTrial = size !== undefined && more.length === 2 && more[0] === size && Number(more[1]) > 0;
if (name === undefined || !names.includes(name) || (more.length > 0 && !isTrial)) {
  process.stderr.write(help);
  process.exit(2);
}

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort());

try {
  const services = await startServices({ log: say, signal: interrupted.signal });
  try {
    process.exitCode = await run(join(import.meta.dirname, `${name}.bench.ts`), more, services.environment);
  } finally {
    await services.stop();
  }
} catch (error) {
  say(error instanceof ServicesError ? error.message : String((error as Error).stack));
  process.exitCode = 1;
}
process.exit();

/** With the collector at hand, so that memory can be compared without what merely waits to be collected. */
async function run(script: string, args: readonly string[], environment: Record<string, string>): Promise<number> {
  const child = spawn(process.execPath, ['--expose-gc', script, ...args], {
    env: { ...process.env, ...environment },
    stdio: 'inherit',
  });
  interrupted.signal.addEventListener('abort', () => child.kill('SIGTERM'));
  return new Promise((ended) => child.once('exit', (code) => ended(code ?? 1)));
}
