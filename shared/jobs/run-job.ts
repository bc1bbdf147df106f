import { errorCode, errorMessage, MatcherError, type Remedy, remedyFor } from '../errors.ts';
import { overBroken } from '../postgres/over-broken.ts';
import type { Transaction } from '../postgres/tenant-database.ts';
import { delays } from '../rabbitmq/topology.ts';
import type { TenantScope } from '../tenancy/tenant-scope.ts';
import { completionEvents, type Failure } from './contracts/events.ts';
import type { AnyJobDefinition } from './definition.ts';
import type { JobSlot } from './job-slot.ts';
import type { JobMessage } from './message.ts';
import { addToOutbox } from './outbox.ts';
import { progressReporter } from './progress.ts';
import { type Claim, claimJob, finishJob, releaseClaim, renewClaim } from './record.ts';

/** What becomes of a delivery. */
export type Fate =
  /** Done, or failed for good and recorded so elsewhere: acknowledged. */
  | { kind: 'settled' }
  /** Put off: comes back after about `seconds`. */
  | { kind: 'later'; seconds: number; failure?: Failure }
  /** To the dead letters. */
  | { kind: 'dead'; failure: Failure; attempt: number };

export interface RunOptions {
  leaseSec: number;
  maxAttempts: number;
  /** Names this process in the job's record. */
  worker: string;
  /** Given back when the work is over. */
  slot: JobSlot;
  /** Aborted when no new job may be begun. */
  draining: AbortSignal;
  /** Aborted when the process must stop working. */
  signal: AbortSignal;
}

/** Seconds until the next attempt, by the number of those made. */
const retryDelays: readonly number[] = delays;

/** How long (seconds) to wait when it isn't the job's turn: another run ends soon, a dependency that is away takes longer. */
const notNowDelay = (code: string): number => (code === 'CONTEXT_BUSY' ? 1 : 5);

const renewalsPerLease = 3;

const leaseLost = () => new MatcherError('LEASE_LOST', 'Another process has taken the job over', { remedy: 'not-now' });

/** Works on one job, from claiming it to its recorded end. Errors become fates; what it throws is about the database itself. */
export async function runJob(
  definition: AnyJobDefinition,
  message: JobMessage,
  scope: TenantScope,
  options: RunOptions,
): Promise<Fate> {
  const { db } = scope;
  const { slot, draining } = options;
  const claiming = overBroken.execute(() => claimJob(db, message, options.leaseSec, options.worker));
  const outcome = await slot.giveWhileSilent(claiming);
  if (outcome.kind === 'finished') return { kind: 'settled' };
  // Its process may have died between recording the failure and burying the message; one dead letter too many does no harm.
  if (outcome.kind === 'failed') return { kind: 'dead', failure: outcome.error, attempt: outcome.attempt };
  if (outcome.kind === 'held') return { kind: 'later', seconds: Math.max(1, outcome.secondsLeft) };
  if (outcome.kind === 'reused') {
    const failure = failureOf(
      new MatcherError('JOB_ID_REUSED', 'A job with this id exists, with another type or body'),
    );
    return { kind: 'dead', failure, attempt: 0 };
  }
  const { claim } = outcome;
  const log = scope.log.child({ attempt: claim.attempt });
  const lease = keepLease(scope, claim, options);
  const started = performance.now();
  try {
    await slot.begin(AbortSignal.any([draining, lease.signal]));
    if (claim.attempt > options.maxAttempts) {
      // Earlier attempts ended without a word: their processes died in them.
      throw new MatcherError('ATTEMPTS_EXHAUSTED', `All ${options.maxAttempts} attempts ended without a result`);
    }
    const job = {
      id: message.id,
      attempt: claim.attempt,
      body: message.body,
      signal: lease.signal,
      progress: progressReporter(scope, message.id),
    };
    const complete = await definition.run(job as never, Object.freeze({ ...scope, log }));
    await db.transaction(async (tx) => {
      const result = await complete(tx);
      lease.signal.throwIfAborted();
      await end(tx, scope, definition, claim, { state: 'SUCCEEDED', result });
    }, lease.signal);
    log.info({ seconds: secondsSince(started) }, 'job done');
    return { kind: 'settled' };
  } catch (error) {
    slot.give();
    return await fail(error);
  } finally {
    lease.stop();
    slot.give();
  }

  async function fail(thrown: unknown): Promise<Fate> {
    // Work that was told to end may fail in any way; why it was told is what counts.
    const error = lease.signal.aborted ? lease.signal.reason : thrown;
    const failure = failureOf(error);
    const remedy: Remedy = remedyFor(error);
    const exhausted = remedy === 'transient' && claim.attempt >= options.maxAttempts;
    if (remedy === 'permanent' || exhausted) {
      log.error({ err: error, seconds: secondsSince(started), exhausted }, 'job failed');
      const soon = AbortSignal.timeout(options.leaseSec * 1000);
      await db.transaction((tx) => end(tx, scope, definition, claim, { state: 'FAILED', error: failure }), soon);
      return { kind: 'dead', failure, attempt: claim.attempt };
    }
    // A claim that is not given back costs an attempt, and what broke the job may have broken the other connections.
    await overBroken.execute(() => releaseClaim(db, claim, failure, remedy === 'transient'));
    const seconds =
      remedy === 'not-now'
        ? notNowDelay(failure.code)
        : (retryDelays[claim.attempt - 1] ?? (retryDelays.at(-1) as number));
    if (remedy === 'transient') log.warn({ err: error, seconds }, 'job failed for now');
    else log.info({ code: failure.code }, 'job put off');
    return { kind: 'later', seconds, failure };
  }
}

async function end(
  tx: Transaction,
  scope: TenantScope,
  definition: AnyJobDefinition,
  claim: Claim,
  as: Parameters<typeof finishJob>[2],
): Promise<void> {
  if (!(await finishJob(tx, claim, as))) throw leaseLost();
  const { completed, failed } = completionEvents[definition.type as keyof typeof completionEvents];
  await addToOutbox(tx, scope, {
    jobId: claim.jobId,
    ...(as.state === 'SUCCEEDED'
      ? { eventType: completed, result: as.result }
      : { eventType: failed, error: as.error, attempt: claim.attempt }),
  });
}

/** Renews the claim while the job runs. The signal is aborted when it is lost or when the process must stop. */
function keepLease(scope: TenantScope, claim: Claim, options: RunOptions): { signal: AbortSignal; stop(): void } {
  const lost = new AbortController();
  // Renewals since the last one that was confirmed. Counted, not timed: a busy event loop makes timers late, not the database silent.
  let unconfirmed = 0;
  const renew = async () => {
    try {
      if (await options.slot.giveWhileSilent(renewClaim(scope.db, claim, options.leaseSec))) unconfirmed = 0;
      else lost.abort(leaseLost());
    } catch (error) {
      scope.log.warn({ code: errorCode(error) }, 'the claim on the job could not be renewed');
    }
  };
  const tick = () => {
    // Whether the database says no or nothing at all: by now another process may have the job.
    if (unconfirmed++ >= renewalsPerLease) lost.abort(leaseLost());
    else void renew();
  };
  const timer = setInterval(tick, (options.leaseSec * 1000) / renewalsPerLease);
  return { signal: AbortSignal.any([lost.signal, options.signal]), stop: () => clearInterval(timer) };
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
