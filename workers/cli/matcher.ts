#!/usr/bin/env node
import { runProgram } from './program.ts';
import { interruptible } from './run.ts';

for (const stream of [process.stdout, process.stderr]) {
  // Whoever reads may stop reading, as in `matcher … | head`.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

const shell = { streams: { stdout: process.stdout, stderr: process.stderr }, interrupted: interruptible() };
process.exitCode = await runProgram(process.argv.slice(2), shell);
