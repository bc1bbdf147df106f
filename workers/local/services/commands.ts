import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Null when a signal ended it, `ENOENT` and the like included: then it never ran. */
  code: number | null;
  /** What it wrote to standard output. */
  stdout: string;
  /** Both streams, in the order in which they came. */
  output: string;
}

/** Runs a command to its end, or kills it when the time is over or the signal is given. Never rejects. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<CommandResult> {
  const signals = [options.signal ?? [], options.timeoutMs ? AbortSignal.timeout(options.timeoutMs) : []].flat();
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
      signal: AbortSignal.any(signals),
      killSignal: 'SIGTERM',
    });
    const stdout: Buffer[] = [];
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => {
      stdout.push(chunk);
      output.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    child.once('error', (error) => output.push(Buffer.from(`${error.message}\n`)));
    child.once('close', (code) =>
      resolve({
        code: code !== null && code >= 0 ? code : null,
        stdout: Buffer.concat(stdout).toString(),
        output: Buffer.concat(output).toString(),
      }),
    );
  });
}

/** The end of a command's or a server's output, where the reason for a failure stands. */
export function lastLines(output: string, count = 15): string {
  return output.trimEnd().split('\n').slice(-count).join('\n');
}
