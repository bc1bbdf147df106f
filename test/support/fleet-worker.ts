import { runProcess } from '@matcher/shared/process/run-process.ts';
import { startWorker } from '@matcher/shared/process/run-worker.ts';
import { exportRun } from '../../workers/export/export-run.ts';
import { ingestionRun } from '../../workers/ingest/ingestion-run.ts';
import { contextApply } from '../../workers/matching/context-apply.ts';
import { matchingRun } from '../../workers/matching/matching-run.ts';

/** The worker of `TestFleet.worker`, as a process of its own that can be killed. Its one argument is its FleetTiming, as JSON. */
await runProcess('worker', 'worker', (settings, log) =>
  startWorker(
    'worker',
    [contextApply, ingestionRun, matchingRun, exportRun],
    settings,
    log,
    JSON.parse(process.argv[2] ?? ''),
  ),
);
