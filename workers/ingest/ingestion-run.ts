import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import type { LoadTask } from './load-file.ts';

/** `ingestion.run`: loads one file of one source. Reading it keeps a processor busy, so a worker thread does. */
export const ingestionRun: JobDefinition<'ingestion.run'> = {
  type: 'ingestion.run',
  async run({ id, body }, { log }) {
    const task: LoadTask = { jobId: id, body };
    return {
      thread: new URL('./load-file.ts', import.meta.url),
      task,
      done(result) {
        const { records, added, rejected } = result as JobResult<'ingestion.run'>;
        log.info({ records, added, rejected }, 'loaded');
      },
    };
  },
};
