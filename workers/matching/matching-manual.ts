import { MatcherError } from '@matcher/shared/errors.ts';
import { namedTransactions } from '@matcher/shared/jobs/contracts/events.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import { formatAmount } from '@matcher/shared/money/decimal.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { lockContext } from './find-context.ts';
import { type NamedTransaction, openRecords } from './named-records.ts';
import { recordDecision } from './record-decision.ts';

/** What stands where other groups have their rule, and how sure a person is. */
const manual = { rule: 'manual', confidence: 100 };

/**
 * `matching.manual`: a person's own group of open records, whatever the rules say and whatever was rejected before. Both sides must come to the same, or the person
 * says why they don't.
 */
export const matchingManual: JobDefinition<'matching.manual'> = {
  type: 'matching.manual',
  async run({ id: jobId, body }, scope) {
    return async (tx) => {
      const context = await lockContext(tx, body.context);
      const records = await openRecords(tx, context, body);
      const gap = gapOf(records);
      const { reason = null, decidedBy = null } = body;
      if (gap !== 0n && reason === null) throw unbalanced(records, gap);
      const id = await writeGroup(tx, { jobId, contextId: context.id }, records);
      await recordDecision(
        tx,
        scope,
        { jobId, action: 'matching.manual', context: body.context, status: 'CONFIRMED', reason, decidedBy },
        [
          {
            ...manual,
            id,
            madeBy: jobId,
            transactions: records.length,
            transactionIds: records.slice(0, namedTransactions).map((record) => record.id),
          },
        ],
      );
      scope.log.info({ matchId: id, records: records.length }, 'grouped by a person');
      return { context: body.context, matchId: id, gap: gap === null ? null : formatAmount(gap) };
    };
  },
};

/** What the left side has beyond the right one; `null` when they are not of one currency, so that nothing can be said. */
function gapOf(records: readonly NamedTransaction[]): bigint | null {
  if (records.some(({ currency }) => currency !== records[0]?.currency)) return null;
  return sumOf(records, 'LEFT') - sumOf(records, 'RIGHT');
}

function sumOf(records: readonly NamedTransaction[], side: NamedTransaction['side']): bigint {
  return records.reduce((sum, record) => (record.side === side ? sum + record.amount : sum), 0n);
}

function unbalanced(records: readonly NamedTransaction[], gap: bigint | null): MatcherError {
  const [currency, ...others] = new Set(records.map((record) => record.currency));
  const money = (amount: bigint) => `${formatAmount(amount, { minDecimals: 2 })} ${currency}`;
  const said =
    gap === null
      ? `The records are of several currencies (${[currency, ...others].join(', ')}), so that their sums can't be compared`
      : `The left records come to ${money(sumOf(records, 'LEFT'))}, the right ones to ${money(sumOf(records, 'RIGHT'))}: the gap is ${money(gap)}`;
  return new MatcherError('MATCH_UNBALANCED', said, { hint: 'A group that does not balance needs a reason.' });
}

/** @returns the group's id. */
async function writeGroup(
  tx: Transaction,
  { jobId, contextId }: { jobId: string; contextId: number },
  records: readonly NamedTransaction[],
): Promise<string> {
  const ids = records.map(({ id }) => id);
  const [{ id }] = (await tx.query<{ id: string }>(
    `WITH run AS (INSERT INTO match_runs (job_id, context_id, mode, statistics) VALUES ($1, $2, 'MANUAL', '{}') RETURNING id)
     INSERT INTO match_groups (id, context_id, rule, status, confidence, items)
     SELECT id::bigint << 26, $2, $3, 'CONFIRMED', $4, $5 FROM run RETURNING id::text`,
    [jobId, contextId, manual.rule, manual.confidence, records.length],
  )) as [{ id: string }];
  await tx.query(
    `INSERT INTO match_items (transaction_id, group_id, side, amount)
     SELECT t.id, $1, named.side::"char", t.amount
       FROM unnest($2::bigint[], $3::text[]) AS named (id, side) JOIN transactions t USING (id) ORDER BY t.id`,
    [id, ids, records.map(({ side }) => side.slice(0, 1))],
  );
  await tx.query('DELETE FROM exceptions WHERE transaction_id = ANY($1::bigint[])', [ids]);
  return id;
}
