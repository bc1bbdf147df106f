import { checkBody } from '@matcher/shared/jobs/client.ts';
import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { Invocation } from './invocation.ts';
import { withTenant } from './tenant-session.ts';

/** What every command takes that publishes one job. */
export interface JobOptions {
  tenant?: string;
  wait?: boolean;
  idempotencyKey?: string;
}

/**
 * Publishes one job and prints its id; with --wait, its result.
 *
 * @param label of its progress.
 */
export async function publishJob<T extends JobType>(
  invocation: Invocation,
  { tenant, wait, idempotencyKey }: JobOptions,
  label: string,
  type: T,
  body: JobBodyInput<T>,
  textOf: (result: JobResult<T>) => string,
): Promise<void> {
  // What can't be meant is said without a connection.
  checkBody(type, body);
  await withTenant(invocation, tenant, async ({ jobs }) => {
    const jobId = await jobs.publish(type, body, { idempotencyKey });
    if (!wait) return invocation.out.result({ jobId }, jobId);
    const result = await jobs.finish<T>(jobId, label);
    invocation.out.result({ jobId, state: 'SUCCEEDED', result }, textOf(result));
  });
}
