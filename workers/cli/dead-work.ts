import { errorCode, errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import { replayLetter } from '@matcher/shared/jobs/replay.ts';
import { type HeldLetter, readDeadLetters } from '@matcher/shared/rabbitmq/dead-letters.ts';
import type { VhostConnection } from '@matcher/shared/rabbitmq/vhost-connection.ts';
import { countOne, type Selection, selected } from './dead-selection.ts';
import { countsText } from './dead-texts.ts';
import { Interrupted, PartlyDone, UsageError } from './failures.ts';
import type { Invocation, Shell } from './invocation.ts';
import type { RecordsSession } from './tenant-session.ts';
import { grouped, oneLine } from './terminal-text.ts';

/** What is done to dead letters. */
export interface DeadWork {
  verb: 'replay' | 'drop';
  wanted: Selection;
  limit: number | undefined;
  /** Not to be asked for. */
  confirmed: boolean;
  /** Whether jobs that were cancelled are replayed, too. */
  cancelled: boolean;
}

/** What was done. */
export interface DeadSummary {
  tenantId: string;
  /** How many were replayed or dropped. */
  done: number;
  byCode: Record<string, number>;
  /** Left where they are, since their jobs were cancelled. */
  cancelled: number;
}

type Session = RecordsSession & { connection: VhostConnection };

interface Problem {
  jobId: string | null;
  code: string;
  message: string;
}

/** Letters that are on their way at the same time. */
const window = 64;
/** Problems that are kept; there may be as many as letters. */
const keptProblems = 100;

/** What concerns one letter only; anything else ends the work. */
const ofOneLetter = new Set(['JOB_ID_MISSING', 'UNROUTABLE', 'MESSAGE_TOO_LARGE']);

/**
 * Replays or drops what is selected, oldest first, after asking when it is more than one.
 *
 * @throws PartlyDone when some could not be replayed; UsageError `CONFIRMATION_NEEDED`; MatcherError as `replayLetter` does.
 */
export async function workOnDeadLetters(
  invocation: Invocation,
  shell: Shell,
  session: Session,
  work: DeadWork,
): Promise<DeadSummary> {
  const atMost = work.confirmed
    ? (work.limit ?? Number.POSITIVE_INFINITY)
    : await confirm(invocation, shell, session, work);
  const summary: DeadSummary = { tenantId: session.tenantId, done: 0, byCode: {}, cancelled: 0 };
  const problems: Problem[] = [];
  try {
    await go(invocation, session, work, atMost, summary, problems);
  } catch (error) {
    throw stopped(error, work.verb, summary);
  }
  if (problems.length > 0) {
    const which = problems.slice(0, 5).map(({ jobId, code }) => oneLine(`${jobId ?? '(no id)'} ${code}`));
    throw new PartlyDone('NOT_ALL_REPLAYED', `Dead letters that could not be replayed stay: ${which.join(', ')}`, {
      hint: 'matcher dead show --id ID shows one, matcher dead drop takes it away.',
      done: summary,
      problems,
    });
  }
  return summary;
}

/** @returns how many may be worked on: those that the user was asked about. */
async function confirm({ out, signal }: Invocation, shell: Shell, session: Session, work: DeadWork): Promise<number> {
  const { verb, wanted, limit = Number.POSITIVE_INFINITY } = work;
  const counts: Record<string, number> = {};
  let count = 0;
  await readDeadLetters(session.connection, async (letters) => {
    for await (const { letter } of selected(letters, wanted, { out, signal })) {
      countOne(counts, letter.code);
      if (++count >= limit) break;
    }
  });
  out.clear();
  if (count <= 1) return count;
  const what = `${grouped(count)} dead letters of tenant ${session.tenantId} (${countsText(counts)})`;
  if (!shell.ask || shell.json) {
    throw new UsageError('CONFIRMATION_NEEDED', `This would ${verb} ${what}`, { hint: 'Add --yes to do it.' });
  }
  if (await shell.ask(`${verb === 'drop' ? 'Drop for ever' : 'Replay'} ${what}?`, signal)) return count;
  throw new MatcherError('NOT_CONFIRMED_BY_USER', 'Nothing was done.');
}

async function go(
  { out, signal }: Invocation,
  session: Session,
  { verb, wanted, cancelled }: DeadWork,
  atMost: number,
  summary: DeadSummary,
  problems: Problem[],
): Promise<void> {
  if (atMost === 0) return;
  const parts = { ...session, cancelled };
  let batch: HeldLetter[] = [];
  let taken = 0;

  const finishOne = async (held: HeldLetter) => {
    const { letter } = held;
    try {
      if (verb === 'drop') held.remove();
      else if ((await replayLetter(held, parts)) === 'cancelled') {
        summary.cancelled++;
        return;
      }
      summary.done++;
      countOne(summary.byCode, letter.code);
    } catch (error) {
      const code = errorCode(error);
      if (!ofOneLetter.has(code)) throw error;
      if (problems.length < keptProblems) problems.push({ jobId: letter.jobId, code, message: errorMessage(error) });
    }
  };
  const finishBatch = async () => {
    const results = await Promise.allSettled(batch.map(finishOne));
    batch = [];
    const failure = results.find((result) => result.status === 'rejected');
    if (failure) throw failure.reason;
    out.progress(verb, verb === 'drop' ? 'dropping' : 'replaying', grouped(summary.done));
  };

  await readDeadLetters(session.connection, async (letters) => {
    for await (const held of selected(letters, wanted, { out, signal })) {
      // Of one id at a time, so that it is clear which of them was confirmed.
      const again = batch.some(({ letter }) => letter.jobId === held.letter.jobId);
      if (again || batch.length >= window) await finishBatch();
      batch.push(held);
      if (++taken >= atMost) break;
    }
    await finishBatch();
  });
}

function stopped(error: unknown, verb: DeadWork['verb'], { done }: DeadSummary): unknown {
  if (done === 0 || !(error instanceof MatcherError)) return error;
  const participle = verb === 'drop' ? 'dropped' : 'replayed';
  const message = `${error.message}; ${grouped(done)} were ${participle} before, the others are still there`;
  if (error instanceof Interrupted) return new Interrupted(message);
  return new MatcherError(error.code, message, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    remedy: error.remedy,
    cause: error,
  });
}
