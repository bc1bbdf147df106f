import { runProcess } from '@matcher/shared/process/run-process.ts';
import { startWorker } from '@matcher/shared/process/run-worker.ts';
import { scriptedJob, untilAborted } from './scripted-job.ts';

/**
 * A worker process for tests that kill it. What a job does is said by its context: `poison` ends the process, `stand` goes on until it is told to end,
 * anything else is done at once. Jobs of the type `context.apply` are all done at once.
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
    ],
    settings,
    log,
  ),
);
