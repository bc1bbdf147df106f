import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { errorMessage, MatcherError, type Remedy } from '../errors.ts';
import type { SeatConnection } from '../postgres/seat.ts';
import { cancelGrace } from '../postgres/tenant-database.ts';
import type { ForThread, ThreadStorage } from '../tenancy/tenant-scope.ts';
import type { Progress } from './contracts/events.ts';
import type { JobType } from './contracts/job-types.ts';
import type { JobResult } from './contracts/results.ts';
import type { ThreadedCompletion } from './definition.ts';
import type { Ending } from './record.ts';

/** What a worker thread is given. */
export interface ThreadTask {
  module: string;
  task: unknown;
  connection: SeatConnection;
  storage: ThreadStorage;
  port: MessagePort;
  /** One number: not 0 when the work must end. */
  told: Int32Array<SharedArrayBuffer>;
}

/** What a worker thread says, in this order. */
export type FromThread =
  | { kind: 'connected'; processId: number }
  | { kind: 'progress'; progress: Progress }
  /** The work is done: waits for what ends its job. */
  | { kind: 'result'; result: unknown };

/** What a worker thread is told. */
export type ToThread = { kind: 'abort' } | { kind: 'end'; end: Ending };

/** How a work ended. Errors as data, since of a class of ours only the message would arrive. */
export type ThreadOutcome = { ended: true } | { ended: false; failure: ThreadFailure };

export interface ThreadFailure {
  code: string;
  message: string;
  hint: string | undefined;
  remedy: Remedy;
  stack: string | undefined;
  /** The server did not let the connection in. */
  refused: boolean;
}

export interface WorkOptions {
  signal: AbortSignal;
  progress(progress: Progress): void;
  /** What ends the job with this result. What it throws ends the work instead. */
  end(result: unknown): Ending;
}

let threads: Piscina | undefined;

/** What ends the works whose threads have not said a word yet. */
const unheard = new Set<AbortController>();

function startThreads(): Piscina {
  const pool = new Piscina({
    filename: new URL('./worker-thread.ts', import.meta.url).href,
    minThreads: 0,
    // One for every job: it is the slots that bound them.
    maxThreads: 1000,
    idleTimeout: 60_000,
    // An idle thread's sockets close then, and not in the middle of the next job.
    atomics: 'disabled',
    // What computes gives way to what answers.
    niceIncrement: 10,
  });
  // Of a thread that has nobody's work. Where one could not start, what has waited for it would wait for ever, and take a thousand threads when the next one can.
  pool.on('error', (error) => {
    for (const kill of unheard) kill.abort(error);
  });
  return pool;
}

/**
 * Runs the completion in a worker thread and ends its job in the same transaction. A thread is started when none is free and kept for a while: a fresh one
 * computes half as fast.
 *
 * @throws the signal's reason when it is aborted; the thread is ended when it does not end the work by itself soon. `LEASE_LOST`, and what the work throws,
 *   as a MatcherError.
 */
export async function completeInThread<T extends JobType>(
  { seat: takeSeat, storage }: ForThread,
  { thread, task, done }: ThreadedCompletion<T>,
  options: WorkOptions,
): Promise<void> {
  const { signal } = options;
  const seat = await takeSeat(signal);
  threads ??= startThreads();
  const { port1: port, port2 } = new MessageChannel();
  const told = new Int32Array(new SharedArrayBuffer(4));
  const kill = new AbortController();
  let processId: number | undefined;
  let silence: NodeJS.Timeout | undefined;
  port.on('message', (said: FromThread) => {
    unheard.delete(kill);
    if (said.kind === 'connected') processId = said.processId;
    else if (said.kind === 'progress') options.progress(said.progress);
    else port.postMessage(answerTo(said.result));
  });
  let ended: unknown;
  const answerTo = (result: unknown): ToThread => {
    ended = result;
    try {
      return { kind: 'end', end: options.end(result) };
    } catch {
      // Told to end in this moment: whoever is told why is the signal.
      return { kind: 'abort' };
    }
  };
  const abort = () => {
    Atomics.store(told, 0, 1);
    port.postMessage({ kind: 'abort' } satisfies ToThread);
    if (processId !== undefined) void seat.cancel(processId);
    silence = setTimeout(() => kill.abort(), cancelGrace);
  };
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    const given: ThreadTask = { module: thread.href, task, connection: seat.connection, storage, port: port2, told };
    const outcome = await runIn(threads, given, kill);
    if (outcome.ended) {
      done?.(ended as JobResult<T>);
      return;
    }
    if (outcome.failure.refused) seat.refused(outcome.failure);
    throw errorOf(outcome.failure);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    clearTimeout(silence);
    port.close();
    seat.leave();
  }
}

async function runIn(pool: Piscina, given: ThreadTask, kill: AbortController): Promise<ThreadOutcome> {
  unheard.add(kill);
  try {
    return await pool.run(given, { transferList: [given.port], signal: kill.signal });
  } catch (error) {
    const cause = kill.signal.aborted ? kill.signal.reason : error;
    throw unheard.has(kill) ? threadNotStarted(cause) : threadEnded(cause);
  } finally {
    unheard.delete(kill);
    // Where no thread could be had, the pool keeps the work for the next one.
    kill.abort();
  }
}

function errorOf({ code, message, hint, remedy, stack }: ThreadFailure): MatcherError {
  const error = new MatcherError(code, message, { ...(hint === undefined ? {} : { hint }), remedy });
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** There was no memory for a thread, say, or no file more that the process may open. */
function threadNotStarted(cause: unknown): MatcherError {
  return new MatcherError('THREAD_NOT_STARTED', `No worker thread could be started: ${errorMessage(cause)}`, {
    hint: 'Look at the limits of the process: its memory, files and threads.',
    remedy: 'not-now',
    cause,
  });
}

/** The thread is gone, with its connection: it ran out of memory, say. The process goes on. */
function threadEnded(cause: unknown): MatcherError {
  return new MatcherError('THREAD_ENDED', `The worker thread ended: ${errorMessage(cause)}`, {
    hint: 'If it ran out of memory, give the process more, or give it less to do at a time.',
    remedy: 'transient',
    cause,
  });
}
