import type { Environment } from './environment.ts';

/** A set of servers of one source. `stop` may be called at any moment, also while `start` is still at work. */
export interface Deployment {
  start(): Promise<Environment>;
  /** Resolves when no process, port or file of it is left. */
  stop(): Promise<void>;
}
