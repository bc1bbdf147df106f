import { ConfigError } from '@matcher/shared/config/load.ts';
import { errorCode, errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import type { Failure } from '@matcher/shared/jobs/contracts/events.ts';
import { CommanderError } from 'commander';

/** The command line, or a file that it names, can't be understood: nothing was done. */
export class UsageError extends MatcherError {}

/** A job that was published and ended in failure. */
export class JobFailed extends MatcherError {
  readonly jobId: string;

  constructor(jobId: string, label: string, { code, message, hint }: Failure) {
    super(code, `${label}: ${message}`, hint === null ? {} : { hint });
    this.jobId = jobId;
  }
}

/** A job that was published and cancelled before it was done. */
export class JobCancelled extends MatcherError {
  readonly jobId: string;

  constructor(jobId: string, label: string) {
    super('JOB_CANCELLED', `${label}: the job was cancelled`);
    this.jobId = jobId;
  }
}

/** Several of the jobs that were under way at the same time ended in failure; code and hint are the first one's. */
export class JobsFailed extends MatcherError {
  readonly jobIds: readonly string[];

  constructor(failures: readonly [JobFailed, ...JobFailed[]]) {
    const { code, hint } = failures[0];
    super(code, failures.map(({ message }) => message).join('\n'), hint === undefined ? {} : { hint });
    this.jobIds = failures.map(({ jobId }) => jobId);
  }
}

/** A command that did what it could and has to leave something to its user. */
export class PartlyDone extends MatcherError {
  /** What was done, as the command prints it when nothing is left. */
  readonly done: object;
  readonly problems: readonly unknown[];

  constructor(code: string, message: string, details: { hint: string; done: object; problems: readonly unknown[] }) {
    super(code, message, { hint: details.hint });
    this.done = details.done;
    this.problems = details.problems;
  }
}

interface Unfinished {
  hint?: string;
  /** What was published and goes on. */
  jobIds?: readonly string[];
}

/** The user ended the command. */
export class Interrupted extends MatcherError {
  readonly jobIds: readonly string[];

  constructor(message = 'Interrupted', { hint, jobIds = [] }: Unfinished = {}) {
    super('INTERRUPTED', message, hint === undefined ? {} : { hint });
    this.jobIds = jobIds;
  }
}

/** --timeout is over. */
export class WaitTimeout extends MatcherError {
  readonly jobIds: readonly string[];

  constructor(message: string, { hint, jobIds = [] }: Unfinished = {}) {
    super('WAIT_TIMEOUT', message, hint === undefined ? {} : { hint });
    this.jobIds = jobIds;
  }
}

/** A failure as scripts read it, in `{"error": …}`. */
export interface ErrorDocument {
  code: string;
  message: string;
  hint: string | null;
  jobId?: string;
  jobIds?: readonly string[];
  problems?: readonly unknown[];
  done?: object;
}

/** What to do about errors that don't say it themselves, in terms of this command. */
const hints: Record<string, string> = {
  TENANT_NOT_FOUND: 'matcher tenant list shows the active ones.',
  TENANT_SUSPENDED: 'matcher tenant reactivate ID gives the service back.',
  TENANT_MANAGER_UNAVAILABLE:
    'Check MULTI_TENANT_URL, and that the Tenant Manager runs; when it answers 503, that its database and its broker do.',
  BROKER_UNAVAILABLE: 'Check that the tenant’s RabbitMQ runs and can be reached from here.',
  NOT_CONFIRMED: 'Whether the job was taken is unknown; running the command again does no harm.',
  FETCHER_UNAVAILABLE: 'Check FETCHER_URL, and that the Fetcher runs.',
  M2M_TOKEN_UNAVAILABLE: 'Check PLUGIN_AUTH_ADDRESS, and that the authorization service runs.',
  FETCHER_UNAUTHORIZED: 'The Fetcher has to trust the authorization service at PLUGIN_AUTH_ADDRESS.',
  INVALID_CONFIG:
    'These are environment variables. For npm run fleet on this machine: . .matcher/env; for npm run services: what it prints.',
};

const badUsage = new Set([
  'INVALID_CONFIG',
  'INVALID_TENANT',
  'BODY_INVALID',
  'JOB_ID_INVALID',
  'IDEMPOTENCY_KEY_INVALID',
  'OBJECT_KEY_INVALID',
  'FETCHER_ID_INVALID',
  'FOLDER_IS_A_TENANT',
]);

/** 0 done, 1 the job or a call failed, 2 the command line, a file or the configuration is at fault, 130 interrupted. */
export function exitStatus(error: unknown): 1 | 2 | 130 {
  if (error instanceof Interrupted) return 130;
  if (error instanceof JobFailed || error instanceof JobsFailed) return 1;
  if (error instanceof UsageError || error instanceof ConfigError || error instanceof CommanderError) return 2;
  return badUsage.has(errorCode(error)) ? 2 : 1;
}

export function describeFailure(error: unknown): ErrorDocument {
  const code = error instanceof CommanderError ? 'USAGE' : errorCode(error);
  return {
    code,
    message: code === 'USAGE' ? usageMessage(error) : errorMessage(error),
    hint: (error instanceof MatcherError ? error.hint : undefined) ?? hints[code] ?? null,
    ...(error instanceof JobFailed || error instanceof JobCancelled ? { jobId: error.jobId } : {}),
    ...(error instanceof JobsFailed || error instanceof Interrupted || error instanceof WaitTimeout
      ? { jobIds: error.jobIds }
      : {}),
    ...(error instanceof PartlyDone ? { done: error.done } : {}),
    ...(hasProblems(error) ? { problems: error.problems } : {}),
  };
}

function usageMessage(error: unknown): string {
  if (error instanceof CommanderError && error.code === 'commander.help') {
    return 'a command is missing; matcher --help lists them';
  }
  return errorMessage(error).replace(/^error: /, '');
}

function hasProblems(error: unknown): error is { problems: readonly unknown[] } {
  return Array.isArray((error as { problems?: unknown } | null)?.problems);
}
