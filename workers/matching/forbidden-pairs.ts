import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import type { MatchInput } from './engine/types.ts';
import type { OpenSide } from './open-side.ts';
import type { OpenTransactions } from './read-open.ts';

/**
 * The rows that were in a group which a person has ended for good (`match_items_history`), a left one and a right one of the same group each: no run brings
 * the two together again. Whatever was in such a group and is open has an exception.
 */
export async function readForbidden(
  tx: Transaction,
  contextId: number,
  { left, right }: OpenTransactions,
): Promise<MatchInput['forbidden']> {
  if (left.known === 0 || right.known === 0) return undefined;
  const pairs = await tx.query<{ left_id: string; right_id: string }>(
    `SELECT DISTINCT l.transaction_id AS left_id, r.transaction_id AS right_id
       FROM match_items_history l
       JOIN match_items_history r ON r.group_id = l.group_id AND r.side = 'R' AND r.barred
       JOIN exceptions le ON le.transaction_id = l.transaction_id
       JOIN exceptions re ON re.transaction_id = r.transaction_id
      WHERE l.side = 'L' AND l.barred AND le.context_id = $1 AND re.context_id = $1`,
    [contextId],
  );
  if (pairs.length === 0) return undefined;
  return {
    left: Int32Array.from(pairs, ({ left_id }) => knownRow(left, left_id)),
    right: Int32Array.from(pairs, ({ right_id }) => knownRow(right, right_id)),
  };
}

/** The row of a transaction that has an exception: these come first, by their ids. */
function knownRow({ ids, known }: OpenSide, id: string): number {
  const wanted = BigInt(id);
  const [high, low] = [Number(wanted >> 32n), Number(wanted & 0xffff_ffffn)];
  let [from, to] = [0, known];
  while (from < to) {
    const middle = (from + to) >>> 1;
    const before = (ids.high[middle] as number) - high || (ids.low[middle] as number) - low;
    if (before < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}
