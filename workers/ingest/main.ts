import { runWorker } from '@matcher/shared/process/run-worker.ts';
import { ingestionRun } from './ingestion-run.ts';

await runWorker('ingest', [ingestionRun]);
