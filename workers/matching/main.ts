import { runWorker } from '@matcher/shared/process/run-worker.ts';
import { contextApply } from './context-apply.ts';
import { matchingRun } from './matching-run.ts';

await runWorker('matching', [contextApply, matchingRun]);
