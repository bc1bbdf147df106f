import { MatcherError } from '@matcher/shared/errors.ts';
import { type ContextDefinition, contextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';

export interface FoundContext {
  id: number;
  definition: ContextDefinition;
}

/**
 * Finds the context and locks it for one run. The lock lives in the transaction that will commit the run's result: who loses one loses the other,
 * so two runs never overlap, however long one of them was paused.
 *
 * @throws MatcherError `CONTEXT_NOT_FOUND`, `CONTEXT_NOT_ACTIVE`, `CONTEXT_BUSY`.
 */
export async function lockContext(tx: Transaction, name: string): Promise<FoundContext> {
  const [row] = await tx.query<{ id: number; status: string; definition: unknown }>(
    'SELECT id, status, definition FROM contexts WHERE name = $1',
    [name],
  );
  if (!row) {
    throw new MatcherError('CONTEXT_NOT_FOUND', `There is no context ${name}`, { hint: 'Apply its definition first.' });
  }
  if (row.status !== 'ACTIVE') {
    throw new MatcherError('CONTEXT_NOT_ACTIVE', `The context ${name} is ${row.status}`, {
      hint: 'Only an ACTIVE one is matched.',
    });
  }
  const [lock] = await tx.query<{ got: boolean }>(
    'SELECT pg_try_advisory_xact_lock(hashtextextended($1 || current_schema(), 0)) AS got',
    [`run of context ${row.id} in `],
  );
  if (!lock?.got) {
    throw new MatcherError('CONTEXT_BUSY', `Another run is matching the context ${name}`, { remedy: 'not-now' });
  }
  return { id: row.id, definition: contextDefinition.parse(row.definition) };
}
