import type { Transaction } from '../postgres/tenant-database.ts';
import type { TenantScope } from '../tenancy/tenant-scope.ts';
import type { JobBody } from './contracts/bodies.ts';
import type { Progress } from './contracts/events.ts';
import type { JobType } from './contracts/job-types.ts';
import type { JobResult } from './contracts/results.ts';

/** A job as its handler sees it. */
export interface Job<T extends JobType> {
  readonly id: string;
  readonly attempt: number;
  readonly body: JobBody<T>;
  /** Aborted when the work must end: the process stops, the job is cancelled, it takes too long, or the claim is lost. Its reason is the error to throw. */
  readonly signal: AbortSignal;
  /** Says how far the work is. Cheap to call often: what is too much is not sent. */
  progress(progress: Progress): void;
}

/**
 * What must become visible at once. It runs in the transaction in which the job ends: what it wrote, its result and its event
 * are committed together, or not at all.
 */
export type Completion<T extends JobType> = (tx: Transaction) => Promise<JobResult<T>>;

/** The result of a job that has nothing else to write. */
export interface Outcome<T extends JobType> {
  result: JobResult<T>;
}

/** One kind of job. `run` prepares, and leaves everything that others could see to the completion that it returns. */
export interface JobDefinition<T extends JobType> {
  readonly type: T;
  run(job: Job<T>, scope: TenantScope): Promise<Completion<T> | Outcome<T>>;
}

/** A definition among others, whatever its type. */
// biome-ignore lint/suspicious/noExplicitAny: a job's body and result are tied to its type, which a list of them forgets
export type AnyJobDefinition = JobDefinition<any>;
