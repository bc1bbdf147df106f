import { MatcherError } from '@matcher/shared/errors.ts';
import { namedTransactions } from '@matcher/shared/jobs/contracts/events.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import type { FoundContext } from './find-context.ts';

/** A live group that a person decides about. */
export interface DecidedGroup {
  id: string;
  rule: string;
  confidence: number;
  /** The job that made it. */
  madeBy: string;
  transactions: number;
  /** The first of them, left ones before right ones; as many as an event names. */
  transactionIds: string[];
}

/** Groups that one error names. */
const namedAtMost = 10;

/**
 * Finds groups of a context that are all in the status that the decision is about. Nothing changes them meanwhile, since the context is locked.
 *
 * @throws MatcherError `GROUP_NOT_FOUND`; `GROUP_NOT_PROPOSED`, `GROUP_NOT_CONFIRMED`, which say what the groups are.
 */
export async function groupsToDecide(
  tx: Transaction,
  context: FoundContext,
  ids: readonly string[],
  status: 'PROPOSED' | 'CONFIRMED',
): Promise<DecidedGroup[]> {
  const found = await tx.query<DecidedGroup & { status: string }>(
    `SELECT g.id::text, g.status, g.rule, g.confidence, r.job_id AS "madeBy", count(i.transaction_id)::int AS transactions,
            coalesce((array_agg(i.transaction_id::text ORDER BY i.side, i.transaction_id) FILTER (WHERE i.transaction_id IS NOT NULL))[1:${namedTransactions}], '{}') AS "transactionIds"
       FROM match_groups g JOIN match_runs r ON r.id = (g.id >> 26)::int LEFT JOIN match_items i ON i.group_id = g.id
      WHERE g.context_id = $1 AND g.id = ANY($2::bigint[]) GROUP BY g.id, r.job_id ORDER BY g.id`,
    [context.id, ids],
  );
  const { name } = context.definition;
  const known = new Set(found.map(({ id }) => id));
  const absent = ids.filter((id) => !known.has(id));
  if (absent.length > 0) {
    throw new MatcherError('GROUP_NOT_FOUND', `The context ${name} has no group ${listed(absent)}`, {
      hint: 'matcher groups list shows those that it has.',
    });
  }
  const others = found.filter((group) => group.status !== status);
  if (others.length > 0) {
    const said = listed(others.map((group) => `${group.id} is ${group.status}`));
    throw new MatcherError(`GROUP_NOT_${status}`, `Not every group is ${status}: ${said}`, {
      hint: status === 'PROPOSED' ? 'A CONFIRMED group is revoked.' : 'A PROPOSED group is rejected.',
    });
  }
  return found;
}

/** The first of them, and how many there are beyond. */
export function listed(parts: readonly string[]): string {
  const more = parts.length - namedAtMost;
  return more > 0 ? `${parts.slice(0, namedAtMost).join(', ')} and ${more} more` : parts.join(', ');
}
