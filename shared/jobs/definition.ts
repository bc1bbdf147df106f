import type { TenantObjects } from '../objects/tenant-objects.ts';
import type { Transaction } from '../postgres/transaction.ts';
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

/**
 * A completion that keeps a processor busy or moves much data: it runs in a worker thread, with a connection of its own there, so that leases, heartbeats
 * and other tenants' jobs go on meanwhile.
 */
export interface ThreadedCompletion<T extends JobType> {
  /** Its module, whose default export is a `ThreadedWork`. */
  readonly thread: URL;
  /** What it needs to know. A copy of it is what arrives. */
  readonly task: unknown;
  /** Called with the job's result when that is committed. */
  done?(result: JobResult<T>): void;
}

/** As a `Completion`, in a worker thread. */
export type ThreadedWork<T extends JobType, Task> = (
  tx: Transaction,
  task: Task,
  control: WorkControl,
) => Promise<JobResult<T>>;

/** How a worker thread and the job that it works for hear of each other, and what else of the tenant's it reaches. */
export interface WorkControl {
  /** The tenant's part of the bucket. To be called once. */
  objects(): Promise<TenantObjects>;
  /** Aborted when the work must end. Heard of only where the work awaits something. */
  readonly signal: AbortSignal;
  /** The same, for work that awaits nothing: looks into memory that the main thread writes. */
  readonly cancellation: { readonly aborted: boolean; readonly reason: unknown };
  progress(progress: Progress): void;
}

/** One kind of job. `run` prepares, and leaves everything that others could see to the completion that it returns. */
export interface JobDefinition<T extends JobType> {
  readonly type: T;
  run(job: Job<T>, scope: TenantScope): Promise<Completion<T> | ThreadedCompletion<T> | Outcome<T>>;
}

/** A definition among others, whatever its type. */
// biome-ignore lint/suspicious/noExplicitAny: a job's body and result are tied to its type, which a list of them forgets
export type AnyJobDefinition = JobDefinition<any>;
