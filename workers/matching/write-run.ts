import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { WideNumeric } from '@matcher/shared/postgres/copy-binary-numeric.ts';
import { BinaryRows } from '@matcher/shared/postgres/copy-binary-write.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { type Found, type FoundGroups, type FoundMembers, membersIn } from './found.ts';
import { MergedRows } from './merged-rows.ts';
import type { OpenTransactions } from './read-open.ts';
import { ruleName } from './rule-name.ts';
import type { RunWatch } from './run-watch.ts';
import { writeExceptions } from './write-exceptions.ts';

/** From this confidence on a group needs no person (matching reference, "Confidence"). */
export const confirmedFrom = 90;

export interface WrittenRun {
  readonly id: number;
  readonly contextId: number;
  readonly rules: readonly Rule[];
}

/** Writes what a run found, by COPY and in key order. Nobody sees any of it before the transaction commits. */
export async function writeRun(
  tx: Transaction,
  run: WrittenRun,
  open: OpenTransactions,
  found: Found,
  watch: RunWatch,
): Promise<void> {
  const { groups } = found;
  const [items, stayed] = [itemsOf(groups), found.open.left.rows.length + found.open.right.rows.length];
  watch.begin('writing', groups.size + items + stayed);
  await tx.copyIn(
    `COPY match_groups (id, context_id, rule, status, confidence, items, amount_score, currency_score, date_score, reference_score)
     FROM STDIN (FORMAT binary)`,
    groupRows(run, groups, watch),
  );
  await tx.copyIn(
    'COPY match_items (transaction_id, group_id, side, amount) FROM STDIN (FORMAT binary)',
    itemRows(run.id, open, groups, watch),
  );
  await writeExceptions(tx, run, open, found, (done) => watch.at(groups.size + items + done));
  await tx.query('UPDATE loads SET taken_by_run = $1 WHERE id = ANY($2)', [run.id, open.loads]);
}

function itemsOf({ left, right }: FoundGroups): number {
  return left.rows.length + right.rows.length;
}

/** Groups of one run stand together, after those of earlier runs: ids are run × 2^26 + number. In two words, as `int8` takes them. */
const highOf = (runId: number): number => runId >>> 6;
const lowOf = (runId: number, group: number): number => (runId % 64) * 2 ** 26 + group;

function* groupRows({ id, contextId, rules }: WrittenRun, groups: FoundGroups, watch: RunWatch): Generator<Buffer> {
  const names = rules.map((rule) => Buffer.from(ruleName(rule)));
  const [confirmed, proposed] = [Buffer.from('CONFIRMED'), Buffer.from('PROPOSED')];
  const { parts } = groups;
  const rows = new BinaryRows();
  for (let group = 0; group < groups.size; group++) {
    const confidence = groups.confidence[group] as number;
    rows.begin(10);
    rows.int8(highOf(id), lowOf(id, group));
    rows.int4(contextId);
    rows.bytes(names[groups.rule[group] as number] as Buffer);
    rows.bytes(confidence >= confirmedFrom ? confirmed : proposed);
    rows.int2(confidence);
    rows.int4(membersIn(groups.left, group) + membersIn(groups.right, group));
    rows.int2(parts.amount[group] as number);
    rows.int2(parts.currency[group] as number);
    rows.int2(parts.date[group] as number);
    rows.int2(parts.reference[group] as number);
    const chunk = rows.full();
    if (chunk === undefined) continue;
    watch.at(group);
    yield chunk;
  }
  yield rows.end();
}

const letters = { left: 'L'.charCodeAt(0), right: 'R'.charCodeAt(0) };

function* itemRows(runId: number, open: OpenTransactions, groups: FoundGroups, watch: RunWatch): Generator<Buffer> {
  const members = { left: memberOfRow(open.left.size, groups.left), right: memberOfRow(open.right.size, groups.right) };
  const groupOf = { left: groupOfMember(groups.left), right: groupOfMember(groups.right) };
  const merged = new MergedRows(open.left, open.right, members);
  const wide = new WideNumeric();
  const rows = new BinaryRows();
  for (let done = groups.size; merged.next(); done++) {
    const { side, row, value: member } = merged;
    const { ids, columns } = open[side];
    const group = groupOf[side][member] as number;
    rows.begin(4);
    rows.int8(ids.high[row] as number, ids.low[row] as number);
    rows.int8(highOf(runId), lowOf(runId, group));
    rows.char(letters[side]);
    const { amounts } = groups[side];
    if (amounts === undefined) {
      rows.numeric(columns.amount.high?.[row] ?? 0, columns.amount.low[row] as number);
    } else {
      wide.exact(amounts[member] as bigint);
      rows.numeric(wide.high, wide.low);
    }
    const chunk = rows.full();
    if (chunk === undefined) continue;
    watch.at(done);
    yield chunk;
  }
  yield rows.end();
}

/** The place of each row among the members; -1 for a row that is in no group. */
function memberOfRow(size: number, { rows }: FoundMembers): Int32Array {
  const members = new Int32Array(size).fill(-1);
  for (let member = 0; member < rows.length; member++) members[rows[member] as number] = member;
  return members;
}

function groupOfMember({ start, rows }: FoundMembers): Int32Array {
  const groups = new Int32Array(rows.length);
  for (let group = 0; group + 1 < start.length; group++) {
    const end = start[group + 1] as number;
    for (let member = start[group] as number; member < end; member++) groups[member] = group;
  }
  return groups;
}
