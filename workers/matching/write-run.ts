import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { copyRow, inChunks } from '@matcher/shared/postgres/copy-text.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';
import type { MatchOutput } from './engine/types.ts';
import type { OpenSide, OpenTransactions } from './open-transactions.ts';
import { dueSql, severitySql } from './severity.ts';

/** From this confidence on a group needs no person (matching reference, "Confidence"). */
export const confirmedFrom = 90;

/** Name of a rule in groups and reports. */
export const ruleName = (rule: Rule): string => rule.name ?? `${rule.type.toLowerCase()}-${rule.priority}`;

/** Writes what a run found, by COPY and in key order. Nobody sees any of it before the transaction commits. */
export async function writeRun(
  tx: Transaction,
  run: { id: number; contextId: number; rules: readonly Rule[] },
  open: OpenTransactions,
  pairs: MatchOutput['pairs'],
): Promise<void> {
  await tx.copyIn(
    'COPY match_groups (id, context_id, rule, status, confidence, amount_score, currency_score, date_score, reference_score) FROM STDIN',
    inChunks(groupRows(run, pairs)),
  );
  await tx.copyIn(
    'COPY match_items (transaction_id, group_id, side, amount) FROM STDIN',
    inChunks(itemRows(run.id, open, pairs)),
  );
  await tx.query(
    `DELETE FROM exceptions e USING match_items i WHERE e.context_id = $1 AND i.transaction_id = e.transaction_id`,
    [run.contextId],
  );
  await writeExceptions(tx, run.contextId, open, pairs);
  await tx.query('UPDATE loads SET taken_by_run = $1 WHERE id = ANY($2)', [run.id, open.loads]);
}

/** Groups of one run stand together, after those of earlier runs. */
const groupId = (runId: number, index: number): bigint => (BigInt(runId) << 26n) + BigInt(index);

function* groupRows(
  run: { id: number; contextId: number; rules: readonly Rule[] },
  pairs: MatchOutput['pairs'],
): Generator<string> {
  const names = run.rules.map(ruleName);
  for (let i = 0; i < pairs.size; i++) {
    const confidence = pairs.confidence[i] as number;
    yield copyRow([
      groupId(run.id, i),
      run.contextId,
      names[pairs.rule[i] as number] as string,
      confidence >= confirmedFrom ? 'CONFIRMED' : 'PROPOSED',
      confidence,
      pairs.parts.amount[i] as number,
      pairs.parts.currency[i] as number,
      pairs.parts.date[i] as number,
      pairs.parts.reference[i] as number,
    ]);
  }
}

function itemRows(runId: number, open: OpenTransactions, pairs: MatchOutput['pairs']): string[] {
  const items: { key: bigint; row: string }[] = [];
  const add = (side: OpenSide, row: number, letter: 'L' | 'R', index: number) => {
    const id = side.ids[row] as string;
    const amount = formatAmount(side.amount[row] as bigint);
    items.push({ key: BigInt(id), row: copyRow([id, groupId(runId, index), letter, amount]) });
  };
  for (let i = 0; i < pairs.size; i++) {
    add(open.left, pairs.left[i] as number, 'L', i);
    add(open.right, pairs.right[i] as number, 'R', i);
  }
  items.sort((a, b) => (a.key < b.key ? -1 : 1));
  return items.map(({ row }) => row);
}

async function writeExceptions(
  tx: Transaction,
  contextId: number,
  open: OpenTransactions,
  pairs: MatchOutput['pairs'],
): Promise<void> {
  const ids = [...unmatched(open.left, pairs.left, pairs.size), ...unmatched(open.right, pairs.right, pairs.size)];
  await tx.query('CREATE TEMPORARY TABLE still_open (id bigint PRIMARY KEY) ON COMMIT DROP');
  const sorted = BigInt64Array.from(ids, BigInt).sort();
  await tx.copyIn('COPY still_open FROM STDIN', inChunks(Array.from(sorted, (id) => copyRow([id]))));
  // A known exception keeps its opening and whoever works on it; it only becomes more urgent as it ages.
  await tx.query(
    `INSERT INTO exceptions AS known (transaction_id, context_id, reason, severity, due_at)
     SELECT id, $1, 'UNMATCHED', ${severitySql}, ${dueSql} FROM still_open JOIN transactions USING (id) ORDER BY id
     ON CONFLICT (transaction_id) DO UPDATE SET severity = excluded.severity, due_at = least(known.due_at, excluded.due_at)
      WHERE known.severity <> excluded.severity`,
    [contextId],
  );
}

function unmatched(side: OpenSide, taken: ArrayLike<number>, size: number): string[] {
  const isTaken = new Uint8Array(side.size);
  for (let i = 0; i < size; i++) isTaken[taken[i] as number] = 1;
  return side.ids.filter((_, row) => isTaken[row] === 0);
}
