import { errorCode, errorMessage, MatcherError, type Remedy, remedyFor } from '../errors.ts';
import { overBroken } from '../postgres/over-broken.ts';
import { delays } from '../rabbitmq/topology.ts';
import type { JobScope } from '../tenancy/tenant-scope.ts';
import type { Batcher } from './batcher.ts';
import { ClaimKeeper, leaseLost } from './claim-keeper.ts';
import { cancelledEvent, completionEvents, duplicateEvent, type Failure } from './contracts/events.ts';
import type { JobType } from './contracts/job-types.ts';
import type { AnyJobDefinition } from './definition.ts';
import type { JobSlot } from './job-slot.ts';
import type { JobMessage } from './message.ts';
import { outboxRow } from './outbox.ts';
import { progressReporter } from './progress.ts';
import {
  type Claim,
  type ClaimOptions,
  claimJob,
  type EndAsked,
  endJobs,
  type JobEnding,
  releaseClaim,
} from './record.ts';
import { completeInThread } from './threaded-work.ts';

/** What becomes of a delivery. */
export type Fate =
  /** Done, or recorded for good as what it is: acknowledged. */
  | { kind: 'settled'; outcome: 'done' | 'cancelled' | 'duplicate' | 'repeated' }
  /** Put off: comes back after about `seconds`. */
  | { kind: 'later'; seconds: number; attempt: number; failure?: Failure; heldFence?: string }
  /** To the dead letters. */
  | { kind: 'dead'; failure: Failure; attempt: number };

export interface RunOptions extends ClaimOptions {
  ends: Batcher<EndAsked, boolean>;
  leaseSec: number;
  maxAttempts: number;
  /** How long (hours) a job may be put off for what is away. */
  patienceHours: number;
  /** How long (seconds) an attempt may take, by job type. */
  deadlines: ReadonlyMap<string, number>;
  /** Given back when the work is over. */
  slot: JobSlot;
  /** Aborted when no new job may be begun. */
  draining: AbortSignal;
  /** Aborted when the process must stop working. */
  ending: AbortSignal;
  /** See ClaimKeeper. */
  long(): Promise<void>;
}

/** Seconds until the next attempt, by the number of those made. */
const retryDelays: readonly number[] = delays;

/** How long (seconds) to wait when it isn't the job's turn: another run ends soon, a dependency that is away takes longer. */
const notNowDelay = (code: string): number => (code === 'CONTEXT_BUSY' ? 1 : 5);

/** A job in which so many processes have ended is tried once more, alone. */
const suspectFrom = 2;
/** After so many it is given up: the next process would end, too. */
const deadlyFrom = 3;

/** Works on one job, from claiming it to its recorded end. Errors become fates; what it throws is about the database itself. */
export async function runJob(
  definition: AnyJobDefinition,
  message: JobMessage,
  { forThread, ...scope }: JobScope,
  options: RunOptions,
): Promise<Fate> {
  const { db } = scope;
  const { slot, draining } = options;
  const type: JobType = definition.type;
  const said = (attempt: number, ending: JobEnding) => outboxRow(scope, eventOf(message, attempt, ending));
  const announce = {
    cancelled: () => said(0, { state: 'CANCELLED' }),
    duplicate: (of: string) =>
      outboxRow(scope, { jobId: message.id, eventType: duplicateEvent, jobType: type, duplicateOf: of }),
  };
  const claiming = overBroken.execute(() => claimJob(db, message, options, announce));
  const outcome = await slot.giveWhileSilent(claiming);
  if (outcome.kind === 'finished') return { kind: 'settled', outcome: repeated[outcome.state] };
  // Its process may have died between recording the failure and burying the message; one dead letter too many does no harm.
  if (outcome.kind === 'failed') return { kind: 'dead', failure: outcome.error, attempt: outcome.attempt };
  if (outcome.kind === 'held') return { kind: 'later', seconds: Math.max(1, outcome.secondsLeft), attempt: 0 };
  if (outcome.kind === 'reused') {
    const failure = failureOf(
      new MatcherError('JOB_ID_REUSED', 'A job with this id exists, with another type or body'),
    );
    return { kind: 'dead', failure, attempt: 0 };
  }
  const { claim } = outcome;
  const { attempt } = claim;
  const log = scope.log.child({ attempt });
  const deadlineSec = options.deadlines.get(type) ?? Number.POSITIVE_INFINITY;
  const progress = progressReporter(scope, message.id);
  const keeper = new ClaimKeeper(db, claim, { ...options, deadlineSec, log });
  const started = performance.now();
  try {
    await slot.begin(draining, keeper.signal);
    await refuseDeadly(claim);
    const { signal } = keeper;
    const job = { id: message.id, attempt, body: message.body, signal, progress };
    await complete(await definition.run(job as never, Object.freeze({ ...scope, log })));
    log.info({ seconds: secondsSince(started) }, 'job done');
    return { kind: 'settled', outcome: 'done' };
  } catch (error) {
    slot.give();
    return await fail(error);
  } finally {
    keeper.stop();
    slot.give();
  }

  async function refuseDeadly({ deaths, lastError }: Claim): Promise<void> {
    if (deaths >= deadlyFrom) {
      const last = lastError === null ? '' : `; the last: ${lastError.message}`;
      throw new MatcherError('PROCESS_DIED', `${deaths} processes ended while they worked on this job${last}`, {
        hint: 'Look at what these processes logged last, and at their memory, before it is replayed.',
      });
    }
    if (attempt > options.maxAttempts) {
      throw new MatcherError('ATTEMPTS_EXHAUSTED', `All ${options.maxAttempts} attempts ended without a result`);
    }
    if (deaths >= suspectFrom && !(await slot.beAlone(keeper.signal))) {
      throw new MatcherError('NOT_ALONE', 'A job in which processes have ended runs alone, and others are at work', {
        remedy: 'not-now',
      });
    }
  }

  async function complete(completion: Awaited<ReturnType<AnyJobDefinition['run']>>): Promise<void> {
    const success = (result: unknown) => {
      keeper.signal.throwIfAborted();
      const end: JobEnding = { state: 'SUCCEEDED', result };
      return { claim, end, event: said(attempt, end) };
    };
    if ('thread' in completion) {
      await completeInThread(forThread, completion, { signal: keeper.signal, progress, end: success });
      return;
    }
    if (typeof completion !== 'function') {
      if (!(await options.ends.ask({ db, ...success(completion.result) }))) throw leaseLost();
      return;
    }
    await db.transaction(async (tx) => {
      const [ended] = await endJobs([{ db: tx, ...success(await completion(tx)) }]);
      if (!ended) throw leaseLost();
    }, keeper.signal);
  }

  async function fail(thrown: unknown): Promise<Fate> {
    // Work that was told to end may fail in any way; why it was told is what counts.
    const error = keeper.signal.aborted ? keeper.signal.reason : thrown;
    const failure = failureOf(error);
    try {
      return await record(error, failure);
    } catch (unsaid) {
      // Nobody works on it any more, and the database does not hear it: the message itself says so when it comes back.
      log.warn({ code: errorCode(unsaid), after: failure.code }, 'what became of the job could not be recorded');
      return { kind: 'later', seconds: notNowDelay(''), attempt, failure, heldFence: claim.fence };
    }
  }

  async function endAs(ending: JobEnding): Promise<boolean> {
    return await overBroken.execute(() => options.ends.ask({ db, claim, end: ending, event: said(attempt, ending) }));
  }

  async function record(error: unknown, failure: Failure): Promise<Fate> {
    const seconds = secondsSince(started);
    if (failure.code === 'JOB_CANCELLED') {
      log.info({ seconds }, 'job cancelled');
      return (await endAs({ state: 'CANCELLED' })) ? { kind: 'settled', outcome: 'cancelled' } : anothers;
    }
    const remedy: Remedy = remedyFor(error);
    const exhausted =
      (remedy === 'transient' && attempt >= options.maxAttempts) ||
      (remedy === 'not-now' && claim.hours >= options.patienceHours);
    if (remedy === 'permanent' || exhausted) {
      log.error({ err: error, seconds, exhausted }, 'job failed');
      return (await endAs({ state: 'FAILED', error: failure })) ? { kind: 'dead', failure, attempt } : anothers;
    }
    // A claim that is not given back costs an attempt, and what broke the job may have broken the other connections.
    await overBroken.execute(() => releaseClaim(db, claim, failure, remedy === 'transient'));
    const pause =
      remedy === 'not-now' ? notNowDelay(failure.code) : (retryDelays[attempt - 1] ?? (retryDelays.at(-1) as number));
    if (remedy === 'transient') log.warn({ err: error, seconds, pause }, 'job failed for now');
    else log.info({ code: failure.code, pause }, 'job put off');
    return { kind: 'later', seconds: pause, attempt, failure };
  }
}

/** Another process has it, or it has ended already: the message comes back once and finds out. */
const anothers: Fate = { kind: 'later', seconds: 1, attempt: 0 };

const repeated = { SUCCEEDED: 'repeated', CANCELLED: 'cancelled', DUPLICATE: 'duplicate' } as const;

function eventOf({ id, type }: JobMessage, attempt: number, ending: JobEnding) {
  const { completed, failed } = completionEvents[type];
  if (ending.state === 'SUCCEEDED') return { jobId: id, eventType: completed, result: ending.result };
  if (ending.state === 'FAILED') return { jobId: id, eventType: failed, error: ending.error, attempt };
  return { jobId: id, eventType: cancelledEvent, jobType: type, attempt };
}

export function failureOf(error: unknown): Failure {
  const hint = error instanceof MatcherError ? (error.hint ?? null) : null;
  return { code: errorCode(error), message: storable(errorMessage(error)), hint };
}

/** An error's text may quote data: PostgreSQL takes neither NUL nor half a character, and a record is no place for a novel. */
function storable(text: string): string {
  return text.slice(0, 2000).replaceAll('\0', '\uFFFD').toWellFormed();
}

function secondsSince(started: number): number {
  return Math.round(performance.now() - started) / 1000;
}
