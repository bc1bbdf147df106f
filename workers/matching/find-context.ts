import { MatcherError } from '@matcher/shared/errors.ts';
import { type ContextDefinition, contextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';

interface ContextRow {
  id: number;
  status: string;
  definition: unknown;
}

export interface FoundContext {
  id: number;
  definition: ContextDefinition;
}

/**
 * Finds the context and locks it for one run. The lock is on a row of the tenant's own, where no other tenant of the same server reaches, and lives in the
 * transaction that will commit the run's result: who loses one loses the other, so two runs never overlap, however long one of them was paused. Loads into
 * the context and new definitions of it go on meanwhile.
 *
 * @throws MatcherError `CONTEXT_NOT_FOUND`, `CONTEXT_NOT_ACTIVE`, `CONTEXT_BUSY`.
 */
export async function lockContext(tx: Transaction, name: string): Promise<FoundContext> {
  const [row] = await tx.query<ContextRow>('SELECT id, status, definition FROM contexts WHERE name = $1', [name]);
  if (!row) {
    throw new MatcherError('CONTEXT_NOT_FOUND', `There is no context ${name}`, { hint: 'Apply its definition first.' });
  }
  if (row.status !== 'ACTIVE') {
    throw new MatcherError('CONTEXT_NOT_ACTIVE', `The context ${name} is ${row.status}`, {
      hint: 'Only an ACTIVE one is matched.',
    });
  }
  const [locked] = await tx.query('SELECT 1 FROM run_locks WHERE context_id = $1 FOR UPDATE SKIP LOCKED', [row.id]);
  if (!locked) {
    throw new MatcherError('CONTEXT_BUSY', `Another run or decision is at work in the context ${name}`, {
      remedy: 'not-now',
    });
  }
  return { id: row.id, definition: contextDefinition.parse(row.definition) };
}
