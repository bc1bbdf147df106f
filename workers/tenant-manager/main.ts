import { runProcess } from '@matcher/shared/process/run-process.ts';
import { startTenantManager } from './start.ts';

await runProcess('tenant-manager', 'tenant-manager', async (settings, log) => {
  const manager = await startTenantManager(settings, log);
  return { stop: manager.close };
});
