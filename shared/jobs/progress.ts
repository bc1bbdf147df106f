import { errorMessage } from '../errors.ts';
import type { TenantScope } from '../tenancy/tenant-scope.ts';
import { type Progress, progressEvent } from './contracts/events.ts';

const shortestInterval = 500;
const snapshotTtlSec = 3600;

/** The key under which a job's latest progress stands in the tenant's Redis, for whoever starts to look late. */
export const progressKey = (jobId: string): string => `job:${jobId}:progress`;

/**
 * @returns the function with which a job says how far it is: at most two events a second leave, the last of a stage always.
 *   Progress that can't be sent is dropped; it never fails a job.
 */
export function progressReporter(scope: TenantScope, jobId: string): (progress: Progress) => void {
  let last = 0;
  let lastStage: string | undefined;
  return (progress) => {
    const ended = progress.total !== null && progress.done >= progress.total;
    const now = Date.now();
    if (progress.stage === lastStage && !ended && now - last < shortestInterval) return;
    last = now;
    lastStage = progress.stage;
    Promise.all([
      scope.publish(progressEvent, { progress }),
      scope.redis.set(progressKey(jobId), JSON.stringify(progress), snapshotTtlSec),
    ]).catch((error) => scope.log.debug({ reason: errorMessage(error) }, 'progress could not be sent'));
  };
}
