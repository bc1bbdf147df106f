import type { AnyJobDefinition } from '@matcher/shared/jobs/definition.ts';
import { runProcess } from '@matcher/shared/process/run-process.ts';
import { startWorker } from '@matcher/shared/process/run-worker.ts';
import { scriptedJob, untilAborted } from './scripted-job.ts';

/** A job whose work is done in a worker thread, and is nothing. */
const threaded: AnyJobDefinition = {
  type: 'matching.manual',
  run: async () => ({ thread: new URL('./threaded-script.ts', import.meta.url), task: {} }),
};

/**
 * A worker process for tests that kill it. What a job does is said by its context: `poison` ends the process, `stand` goes on until it is told to end,
 * anything else is done at once. Jobs of the type `context.apply` are all done at once, those of the
 * type `matching.manual` in a worker thread.
 */
await runProcess('worker', 'worker', (settings, log) =>
  startWorker(
    'worker',
    [
      scriptedJob(async (job, scope) => {
        const { context } = job.body as { context: string };
        scope.log.info({ context }, 'script');
        if (context === 'poison') process.kill(process.pid, 'SIGKILL');
        if (context === 'poison' || context === 'stand') await untilAborted(job.signal);
      }),
      scriptedJob(async () => {}, 'context.apply'),
      threaded,
    ],
    settings,
    log,
  ),
);
