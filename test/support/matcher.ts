import type { Streams } from '../../workers/cli/output.ts';
import { runProgram } from '../../workers/cli/program.ts';

export interface MatcherRun {
  status: number;
  stdout: string;
  stderr: string;
}

/**
 * Runs a command line of `matcher` in this process, on this process's environment.
 *
 * @param options.interrupted stands for Ctrl-C; `onError` sees what is written on standard error, as it is written.
 */
export async function matcher(
  args: readonly string[],
  options: { interrupted?: AbortSignal; onError?(chunk: string): void } = {},
): Promise<MatcherRun> {
  const { interrupted = new AbortController().signal, onError } = options;
  const written = { stdout: '', stderr: '' };
  const into = (name: keyof typeof written) => ({
    write(chunk: string) {
      written[name] += chunk;
      if (name === 'stderr') onError?.(chunk);
      return true;
    },
  });
  const streams = { stdout: into('stdout'), stderr: into('stderr') } as unknown as Streams;
  const status = await runProgram(args, { streams, interrupted, json: args.includes('--json') });
  return { status, ...written };
}
