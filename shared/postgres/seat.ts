import type { Pool } from 'pg';
import type { Settings } from '../config/variables.ts';
import type { Slots } from '../slots.ts';
import type { ConnectionLimits, PostgresTarget } from '../tenancy/tenant-config.ts';
import { cancelStatement } from './tenant-database.ts';

/** How to connect; goes to another thread as it is. */
export interface SeatConnection {
  target: PostgresTarget;
  limits: ConnectionLimits;
  timeouts: Pick<Settings, 'POSTGRES_CONNECT_TIMEOUT_SEC' | 'POSTGRES_QUERY_TIMEOUT_SEC'>;
}

/**
 * The right to one connection of a tenant that lives in another thread. It counts as one of the pool's, and as one of its transactions, from before it
 * is made until `leave` is called.
 */
export interface Seat {
  /** With the password of this moment. */
  readonly connection: SeatConnection;
  /** Cancels what the server does for the connection of this process id. Never throws. */
  cancel(processId: number): Promise<void>;
  /** Says that the server did not let the connection in. */
  refused(error: unknown): void;
  leave(): void;
}

/**
 * @param signal ends the waiting for a seat, with its reason.
 * @throws MatcherError `DATABASE_CONNECTIONS_EXHAUSTED`
 */
export type TakeSeat = (signal?: AbortSignal) => Promise<Seat>;

export interface SeatParts {
  pool: Pool;
  transactions: Slots;
  /** Takes a connection away from the pool. */
  lend(): Promise<() => void>;
  /** How to connect now. */
  connection(): Promise<SeatConnection>;
  refused(error: unknown): void;
}

export function seats({ pool, transactions, lend, connection, refused }: SeatParts): TakeSeat {
  return async (signal) => {
    const endTurn = await transactions.acquire(signal);
    try {
      const how = await connection();
      const giveBack = await lend();
      return {
        connection: how,
        cancel: (processId) => cancelStatement(pool, processId),
        refused,
        leave() {
          giveBack();
          endTurn();
        },
      };
    } catch (error) {
      endTurn();
      throw error;
    }
  };
}
