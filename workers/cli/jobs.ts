import type { JobClient, PublishOptions } from '@matcher/shared/jobs/client.ts';
import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { Progress } from '@matcher/shared/jobs/contracts/events.ts';
import type { JobType } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { JobEnd } from '@matcher/shared/jobs/follow.ts';
import { Interrupted, JobCancelled, JobFailed, WaitTimeout } from './failures.ts';
import type { Output } from './output.ts';
import { grouped } from './terminal-text.ts';

/** One command's jobs: published, followed with a line of progress, and named when the waiting ends before they do. */
export class Jobs {
  readonly #client: JobClient;
  readonly #out: Output;
  readonly #signal: AbortSignal;
  readonly #running = new Map<string, string>();

  constructor(client: JobClient, out: Output, signal: AbortSignal) {
    this.#client = client;
    this.#out = out;
    this.#signal = signal;
  }

  async publish<T extends JobType>(type: T, body: JobBodyInput<T>, options: PublishOptions = {}): Promise<string> {
    this.#signal.throwIfAborted();
    return this.#client.publish(type, body, options);
  }

  /**
   * Waits for the job's result.
   *
   * @throws JobFailed, JobCancelled, Interrupted, WaitTimeout
   */
  async finish<T extends JobType>(jobId: string, label: string): Promise<JobResult<T>> {
    const end = await this.follow<T>(jobId, label);
    if (end.state === 'FAILED') throw new JobFailed(jobId, label, end.error);
    if (end.state === 'CANCELLED') throw new JobCancelled(jobId, label);
    if (end.duplicateOf !== undefined) this.#out.done(label, `was done before, as job ${end.duplicateOf}`);
    return end.result;
  }

  /**
   * Waits for the job's end, whatever it is.
   *
   * @throws Interrupted, WaitTimeout
   */
  async follow<T extends JobType>(jobId: string, label: string): Promise<JobEnd<T>> {
    this.#running.set(jobId, label);
    try {
      this.#out.progress(label, 'waiting for a worker');
      return await this.#client.follow<T>(jobId, {
        signal: this.#signal,
        onProgress: (said) => this.#out.progress(label, said.stage, countOf(said)),
      });
    } catch (error) {
      throw this.#signal.aborted ? this.#stillRunning() : error;
    } finally {
      this.#running.delete(jobId);
    }
  }

  /** Publishes a job and waits for its result. */
  async run<T extends JobType>(
    type: T,
    body: JobBodyInput<T>,
    label: string,
    options?: PublishOptions,
  ): Promise<JobResult<T>> {
    return this.finish<T>(await this.publish(type, body, options), label);
  }

  #stillRunning(): Error {
    const jobIds = [...this.#running.keys()];
    const jobs = [...this.#running].map(([id, label]) => `${label} (job ${id})`).join(', ');
    const hint = `See how it is: matcher jobs show ${jobIds[0]} --tenant ${this.#client.tenantId}`;
    if (this.#signal.reason instanceof WaitTimeout) {
      return new WaitTimeout(`${this.#signal.reason.message}; what was published goes on: ${jobs}`, { hint, jobIds });
    }
    return new Interrupted(`Interrupted; what was published goes on: ${jobs}`, { hint, jobIds });
  }
}

/** How far it is, once there is something to count. */
export function countOf({ done, total }: Progress): string | undefined {
  if (done === 0) return undefined;
  return total === null ? grouped(done) : `${grouped(done)} of ${grouped(total)}`;
}
