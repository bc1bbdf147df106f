import { randomUUID } from 'node:crypto';
import { type JobType, jobTypes } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { ProcessSnapshot } from '@matcher/shared/process/fleet-registry.ts';

/** Nothing waits, of any type. */
export const noJobs = Object.fromEntries(jobTypes.map((type) => [type, 0])) as Record<JobType, number>;

/** A process that is well and has nothing to do, except for what a test says. */
export function snapshot(said: Partial<ProcessSnapshot> = {}): ProcessSnapshot {
  const now = new Date().toISOString();
  return {
    id: randomUUID(),
    kind: 'matching',
    host: 'host',
    pid: 1,
    address: '127.0.0.1:4018',
    version: '0.1.0',
    startedAt: now,
    at: now,
    state: 'running',
    reasons: [],
    jobs: [
      'context.apply',
      'matching.run',
      'matching.confirm',
      'matching.reject',
      'matching.revoke',
      'matching.manual',
    ],
    slots: { total: 4, used: 0 },
    pools: { open: 0, leased: 0, closing: 0, waiting: 0, max: 100 },
    breaker: 'closed',
    listComparedAt: now,
    tenants: { atRest: [], others: [] },
    ...said,
  };
}
