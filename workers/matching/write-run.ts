import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { copyRow, inChunks } from '@matcher/shared/postgres/copy-text.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';
import type { Found, FoundGroups, FoundMembers } from './found.ts';
import type { OpenSide, OpenTransactions } from './open-transactions.ts';
import { writeExceptions } from './write-exceptions.ts';

/** From this confidence on a group needs no person (matching reference, "Confidence"). */
export const confirmedFrom = 90;

/** Name of a rule in groups and reports. */
export const ruleName = (rule: Rule): string => rule.name ?? `${rule.type.toLowerCase()}-${rule.priority}`;

/** Writes what a run found, by COPY and in key order. Nobody sees any of it before the transaction commits. */
export async function writeRun(
  tx: Transaction,
  run: { id: number; contextId: number; rules: readonly Rule[] },
  open: OpenTransactions,
  found: Found,
): Promise<void> {
  const ruleNames = run.rules.map(ruleName);
  await tx.copyIn(
    'COPY match_groups (id, context_id, rule, status, confidence, items, amount_score, currency_score, date_score, reference_score) FROM STDIN',
    inChunks(groupRows(run, ruleNames, found.groups)),
  );
  await tx.copyIn(
    'COPY match_items (transaction_id, group_id, side, amount) FROM STDIN',
    inChunks(itemRows(run.id, open, found.groups)),
  );
  await tx.query(
    `DELETE FROM exceptions e USING match_items i WHERE e.context_id = $1 AND i.transaction_id = e.transaction_id`,
    [run.contextId],
  );
  await writeExceptions(tx, run.contextId, ruleNames, open, found.open);
  await tx.query('UPDATE loads SET taken_by_run = $1 WHERE id = ANY($2)', [run.id, open.loads]);
}

/** Groups of one run stand together, after those of earlier runs. */
const groupId = (runId: number, index: number): bigint => (BigInt(runId) << 26n) + BigInt(index);

function* groupRows(
  run: { id: number; contextId: number },
  ruleNames: readonly string[],
  groups: FoundGroups,
): Generator<string> {
  for (let i = 0; i < groups.size; i++) {
    const confidence = groups.confidence[i] as number;
    yield copyRow([
      groupId(run.id, i),
      run.contextId,
      ruleNames[groups.rule[i] as number] as string,
      confidence >= confirmedFrom ? 'CONFIRMED' : 'PROPOSED',
      confidence,
      itemsIn(groups.left, i) + itemsIn(groups.right, i),
      groups.parts.amount[i] as number,
      groups.parts.currency[i] as number,
      groups.parts.date[i] as number,
      groups.parts.reference[i] as number,
    ]);
  }
}

function itemsIn({ start }: FoundMembers, group: number): number {
  return (start[group + 1] as number) - (start[group] as number);
}

function itemRows(runId: number, open: OpenTransactions, groups: FoundGroups): string[] {
  const items: { key: bigint; row: string }[] = [];
  const add = (side: OpenSide, { start, rows, amounts }: FoundMembers, letter: 'L' | 'R') => {
    for (let group = 0; group < groups.size; group++) {
      for (let i = start[group] as number; i < (start[group + 1] as number); i++) {
        const row = rows[i] as number;
        const id = side.ids[row] as string;
        const amount = formatAmount(amounts?.[i] ?? (side.amount[row] as bigint));
        items.push({ key: BigInt(id), row: copyRow([id, groupId(runId, group), letter, amount]) });
      }
    }
  };
  add(open.left, groups.left, 'L');
  add(open.right, groups.right, 'R');
  items.sort((a, b) => (a.key < b.key ? -1 : 1));
  return items.map(({ row }) => row);
}
