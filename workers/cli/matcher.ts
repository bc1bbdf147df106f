#!/usr/bin/env node
import { askOnTerminal, interruptible } from './invocation.ts';
import { runProgram } from './program.ts';

const streams = { stdout: process.stdout, stderr: process.stderr };
for (const stream of Object.values(streams)) {
  // Whoever reads may stop reading, as in `matcher … | head`.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

const args = process.argv.slice(2);
const status = await runProgram(args, {
  streams,
  interrupted: interruptible(),
  json: args.includes('--json'),
  ...(process.stdin.isTTY && process.stderr.isTTY ? { ask: askOnTerminal } : {}),
});
// What was interrupted may still wait for a server; only what was printed is waited for.
process.stdout.write('', () => process.exit(status));
