import { errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import type { Deployment } from './deployment.ts';

export interface Started {
  deployment: Deployment;
  /** Whether to go on until a signal comes; otherwise the work is done. */
  wait: boolean;
  exitCode?: number;
}

/**
 * The life of a command that runs a deployment: whatever ends it (its own end, an error, SIGINT, SIGTERM, a closed terminal), the deployment is drained and
 * removed before the process exits. A second signal does not wait for running jobs.
 *
 * @param work starts the deployment; `fail` ends it later with an error. Its signal is aborted when it should give up.
 */
export async function runUntilStopped(
  work: (signal: AbortSignal, fail: (error: Error) => void) => Promise<Started>,
): Promise<void> {
  const stopping = new AbortController();
  const { promise: ended, resolve: end, reject: fail } = Promise.withResolvers<number>();
  ended.catch(() => stopping.abort());
  let running: Deployment | undefined;
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) {
        // The services' keeper notices that this process is gone, the workers that their channel is closed.
        running?.fleet.kill();
        return;
      }
      process.stderr.write('stopping; once more to end at once\n');
      stopping.abort(new MatcherError('INTERRUPTED', 'interrupted'));
      end(status);
    });
  }
  let exitCode = 0;
  try {
    const started = await work(stopping.signal, fail);
    running = started.deployment;
    exitCode = started.exitCode ?? 0;
    if (started.wait || stopping.signal.aborted) exitCode = await ended;
  } catch (error) {
    exitCode = stopping.signal.aborted ? await ended.catch(() => 1) : 1;
    if (!stopping.signal.aborted || exitCode === 1) process.stderr.write(`${errorMessage(error)}\n`);
  } finally {
    await running?.stop();
  }
  process.exit(exitCode);
}
