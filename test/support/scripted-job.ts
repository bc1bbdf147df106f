import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { AnyJobDefinition, Job } from '@matcher/shared/jobs/definition.ts';
import type { TenantScope } from '@matcher/shared/tenancy/tenant-scope.ts';

/** A job that does what a test wants, and has nothing to write. */
export function scriptedJob(
  run: (job: Job<JobType>, scope: TenantScope) => Promise<unknown>,
  type: JobType = 'matching.run',
): AnyJobDefinition {
  return { type, run: async (job: Job<JobType>, scope: TenantScope) => ({ result: await run(job, scope) }) };
}

/** Work that goes on until it is told to end: rejects with the reason. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** Jobs that are at work until they are let go, by the tenant they are for. */
export class Gate {
  readonly #at = new Map<string, { id: string; go: () => void }[]>();
  readonly #open = new Set<string>();
  /** Ids of all that ever came, in order. */
  readonly came: string[] = [];

  /** To be awaited in the job. */
  async pass({ id, signal }: Job<JobType>, { tenantId }: TenantScope): Promise<void> {
    this.came.push(id);
    if (this.#open.has(tenantId)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const here = this.#at.get(tenantId) ?? [];
    this.#at.set(tenantId, [...here, { id, go: resolve }]);
    try {
      await Promise.race([promise, untilAborted(signal)]);
    } finally {
      this.#at.set(
        tenantId,
        this.waiting(tenantId).filter((one) => one.id !== id),
      );
    }
  }

  waiting(tenantId: string): { id: string; go: () => void }[] {
    return this.#at.get(tenantId) ?? [];
  }

  /** Lets those that are there go, and those that come. */
  open(tenantId: string): void {
    this.#open.add(tenantId);
    for (const { go } of this.waiting(tenantId)) go();
  }
}
