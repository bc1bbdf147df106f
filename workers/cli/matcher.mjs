#!/usr/bin/env node
// Plain JavaScript, so that a Node that can't run TypeScript gets as far as the message that says so.
const [major, minor] = process.versions.node.split('.').map(Number);
// 22.18 and 23.6 are the first of their lines that run .ts files as they are.
if (major > 23 || (major === 22 && minor >= 18) || (major === 23 && minor >= 6)) {
  await import('./matcher.ts');
} else {
  process.stderr.write(
    `matcher: needs Node 22.18 or newer, this is ${process.versions.node}; npx matcher runs on the Node that the repository installs\n`,
  );
  process.exitCode = 2;
}
