import type { Progress } from '@matcher/shared/jobs/contracts/events.ts';
import type { JobDetails, ListedJob } from '@matcher/shared/jobs/job-list.ts';
import { countOf } from './jobs.ts';
import { manyLines, namedValues, table } from './terminal-text.ts';

/** Records of jobs for a person. */

export function jobsTable(jobs: readonly ListedJob[]): string {
  return table(
    ['JOB', 'TYPE', 'STATE', 'ATTEMPT', 'AGE', 'TOOK', 'WORKER', 'ERROR'],
    jobs.map(({ id, type, state, attempt, age, duration, worker, error }) => [
      id,
      type,
      state,
      attempt,
      timeText(age),
      duration === null ? '' : timeText(duration),
      worker ?? '',
      error?.code ?? '',
    ]),
  );
}

export function jobDetailsText(job: JobDetails, progress: Progress | null): string {
  const lines = namedValues([
    ['job', job.id],
    ['type', job.type],
    ['state', job.state],
    ['duplicate of', job.duplicateOf],
    ['attempt', job.attempt],
    ['deaths', job.deaths === 0 ? null : `${job.deaths} (processes that ended while they worked on it)`],
    ['worker', job.worker],
    ['progress', progress && [progress.stage, countOf(progress)].filter(Boolean).join(' ')],
    ['created', `${job.createdAt.toISOString()} (${timeText(job.age)} ago)`],
    ['started', job.startedAt?.toISOString()],
    ['finished', job.finishedAt?.toISOString()],
    ['took', job.duration === null ? null : timeText(job.duration)],
    ['lease until', job.leaseUntil?.toISOString()],
    ['cancellation', job.cancelRequestedAt && `asked for at ${job.cancelRequestedAt.toISOString()}`],
    ['idempotency key', job.idempotencyKey],
    ['error', job.error && `${job.error.message} [${job.error.code}]`],
    ['hint', job.error?.hint],
  ]);
  const documents = (['body', 'result'] as const).flatMap((name) =>
    job[name] === null ? [] : [`${name}:\n${JSON.stringify(job[name], null, 2)}`],
  );
  return manyLines([...lines, ...documents].join('\n'));
}

/** Two units at most: `3.2 s`, `5m 12s`, `2h 03m`, `7d 04h`. */
export function timeText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 60) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86_400)}d ${two(Math.floor((whole % 86_400) / 3600))}h`;
}
