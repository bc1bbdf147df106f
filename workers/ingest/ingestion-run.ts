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
      done({ records, added, rejected }) {
        log.info({ records, added, rejected }, 'loaded');
      },
    };
  },
};
