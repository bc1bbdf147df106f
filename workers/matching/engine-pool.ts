import type { ContextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { Piscina } from 'piscina';
import type { Columns } from './engine/types.ts';
import type { Found } from './found.ts';

/** Columns as they travel to another thread: the fields that the rules name are there instead of being asked for. */
export interface PlainColumns extends Omit<Columns, 'field'> {
  readonly fields: ReadonlyMap<string, readonly (string | null)[]>;
}

export interface EngineTask {
  type: ContextDefinition['type'];
  left: PlainColumns;
  right: PlainColumns;
  rules: readonly Rule[];
}

let threads: Piscina | undefined;

/**
 * Runs the engine in a worker thread, so that leases, heartbeats and other tenants' jobs go on meanwhile. A thread is started with the first run and
 * kept: a fresh one is half as fast.
 *
 * @throws the signal's reason when it is aborted; the thread is ended then.
 */
export async function matchInThread(task: EngineTask, signal: AbortSignal): Promise<Found> {
  threads ??= new Piscina({
    filename: new URL('./engine-thread.ts', import.meta.url).href,
    minThreads: 0,
    idleTimeout: 60_000,
  });
  try {
    return await threads.run(task, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
