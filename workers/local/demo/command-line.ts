import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { callerDirectory, root } from '../paths.ts';

/** What `matcher reconcile --json` prints, as far as the demo uses it. */
export interface Reconciled {
  tenantId: string;
  context: string;
  left: number;
  right: number;
  sources: { source: string; side: 'LEFT' | 'RIGHT'; records: number; added: number; rejected: number }[];
  matched: Record<string, number>;
  open: { left: number; right: number };
  exceptions: Record<string, number>;
  exports: { report: string; rows: number; bytes: number; sha256: string; url: string }[];
  seconds: number;
}

/**
 * Runs the `matcher` command as a user would, and returns its JSON.
 *
 * @param progress receives what it says meanwhile, a line at a time.
 * @throws Error with what the command said.
 */
export async function matcher<T>(
  args: readonly string[],
  environment: Record<string, string>,
  signal: AbortSignal,
  progress: (line: string) => void = () => {},
): Promise<T> {
  const child = spawn(process.execPath, [join(root, 'workers/cli/matcher.ts'), ...args, '--json'], {
    cwd: callerDirectory,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Its own group: a Ctrl-C is for the demo, which then ends it.
    detached: true,
    signal,
  });
  const said: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    said.push(line);
    progress(line);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [output, status] = await Promise.all([text(child.stdout), ended]);
  if (status !== 0) {
    throw new Error(
      [`matcher ${args.join(' ')} ended with status ${status}`, ...said.slice(-10), output.trim()].join('\n'),
    );
  }
  return JSON.parse(output) as T;
}
