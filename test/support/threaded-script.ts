import { threadId } from 'node:worker_threads';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { ThreadedWork } from '@matcher/shared/jobs/definition.ts';

/** What a test has a worker thread do, one after the other. Its result is which thread that was. */
export interface ThreadScript {
  /** Statements of the transaction. */
  sql?: string[];
  /** Keeps its processor busy until it is told to end. */
  compute?: boolean;
  /** As `compute`, and does not listen. */
  deaf?: boolean;
  fail?: 'permanent' | 'transient';
  exit?: boolean;
}

const run: ThreadedWork<'matching.run', ThreadScript> = async (tx, script, control) => {
  control.progress({ stage: 'script', done: 0, total: 1 });
  for (const sql of script.sql ?? []) await tx.query(sql);
  while (script.compute || script.deaf) {
    if (!script.deaf && control.cancellation.aborted) throw control.cancellation.reason;
  }
  if (script.fail) throw new MatcherError('SCRIPT_FAILED', 'as it was told', { remedy: script.fail, hint: 'None.' });
  if (script.exit) process.exit(3);
  return { threadId } as never;
};
export default run;
