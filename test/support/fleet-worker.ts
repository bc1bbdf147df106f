import { runProcess } from '@matcher/shared/process/run-process.ts';
import { startWorker } from '@matcher/shared/process/run-worker.ts';
import { everyJob } from './every-job.ts';

/** The worker of `TestFleet.worker`, as a process of its own that can be killed. Its one argument is its FleetTiming, as JSON. */
await runProcess('worker', 'worker', (settings, log) =>
  startWorker('worker', everyJob, settings, log, JSON.parse(process.argv[2] ?? '')),
);
