import { runProcess } from '@matcher/shared/process/run-process.ts';
import { startScheduler } from './start.ts';

await runProcess('scheduler', 'worker', startScheduler);
