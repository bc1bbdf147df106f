import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import type { FoundContext } from './find-context.ts';
import { dueSql, severitySql } from './severity.ts';

/**
 * Ends live groups: their items go into the history, and each of their transactions is open again, with an exception as that of a run which found it no partner.
 *
 * @param barred whether no run may match a left transaction of a group with a right one of it again.
 */
export async function endGroups(
  tx: Transaction,
  context: FoundContext,
  ids: readonly string[],
  { status, barred }: { status: 'REJECTED' | 'REVOKED'; barred: boolean },
): Promise<void> {
  await tx.query('UPDATE match_groups SET status = $2 WHERE id = ANY($1::bigint[])', [ids, status]);
  await tx.query(
    `WITH ended AS (DELETE FROM match_items WHERE group_id = ANY($1::bigint[]) RETURNING group_id, transaction_id, side, amount),
          kept AS (INSERT INTO match_items_history (group_id, transaction_id, side, amount, barred)
                   SELECT group_id, transaction_id, side, amount, $2 FROM ended ORDER BY group_id, transaction_id)
     INSERT INTO exceptions (transaction_id, context_id, reason, severity, due_at)
     SELECT id, $3, 'UNMATCHED', ${severitySql}, ${dueSql} FROM transactions
      WHERE id IN (SELECT transaction_id FROM ended) ORDER BY id`,
    [ids, barred, context.id],
  );
}
