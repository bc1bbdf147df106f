import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import type { RunTask } from './run-work.ts';

/** `matching.run`: matches what is open in a context, in a worker thread. See `run-work.ts`. */
export const matchingRun: JobDefinition<'matching.run'> = {
  type: 'matching.run',
  async run({ id, body: { context, mode } }, { log }) {
    const task: RunTask = { jobId: id, context, mode };
    return {
      thread: new URL('./run-work.ts', import.meta.url),
      task,
      done({ left, right, matched }) {
        log.info({ left, right, matched, mode }, 'matched');
      },
    };
  },
};
