import { runWorker } from '@matcher/shared/process/run-worker.ts';
import { exportRun } from './export-run.ts';

await runWorker('export', [exportRun]);
