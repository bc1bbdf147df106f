import { runWorker } from '@matcher/shared/process/run-worker.ts';
import { contextApply } from './context-apply.ts';
import { matchingConfirm, matchingReject, matchingRevoke } from './decisions.ts';
import { matchingManual } from './matching-manual.ts';
import { matchingRun } from './matching-run.ts';

await runWorker('matching', [
  contextApply,
  matchingRun,
  matchingConfirm,
  matchingReject,
  matchingRevoke,
  matchingManual,
]);
