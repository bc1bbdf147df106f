import type { Side } from '@matcher/shared/jobs/contracts/context.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { INCOMPLETE, int32At, readBinaryRows, type TakeRow } from '@matcher/shared/postgres/copy-binary-read.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { escapeLiteral } from 'pg';
import { fieldsOf } from './engine/fields.ts';
import { FIXED_COLUMNS, OpenColumns, type OpenSide } from './open-side.ts';
import type { RunWatch } from './run-watch.ts';

export interface OpenTransactions {
  readonly left: OpenSide;
  readonly right: OpenSide;
  /** The loads that this run is the first to see. */
  readonly loads: readonly number[];
}

interface LoadRow {
  id: number;
  source_id: number;
  records: number;
}

/** Where the rows of a source go. */
interface Target {
  columns: OpenColumns;
  code: number;
}

/** A load of fewer records is read together with others: a statement of its own costs more than its rows. */
const SMALL = 20_000;

/** Fields that are among the fixed columns, or are made of them. */
const FIXED_FIELDS: ReadonlySet<string> = new Set(['external_id', 'amount', 'currency', 'date']);

/** Fields that transactions have a column for. Where a source does not map one it is, as any other name, a column of the record's metadata. */
const MAPPED = new Map([
  ['amount_base', 'trim_scale(amount_base)::text'],
  ['base_currency', 'base_currency::text'],
  ['fx_rate', 'trim_scale(fx_rate)::text'],
]);

/**
 * Reads what is open in a context: what no run has seen yet, and what has an open exception. What was settled is not read. Of the metadata come only the
 * fields that the rules name. The statements leave the planner, which may know nothing yet of rows that have just come, no way but by the primary key.
 */
export async function readOpen(
  tx: Transaction,
  contextId: number,
  rules: readonly Rule[],
  watch: RunWatch,
): Promise<OpenTransactions> {
  const loads = await tx.query<LoadRow>(
    'SELECT id, source_id, records FROM loads WHERE context_id = $1 AND taken_by_run IS NULL ORDER BY id',
    [contextId],
  );
  const [{ known }] = (await tx.query<{ known: number }>(
    'SELECT count(*)::int AS known FROM exceptions WHERE context_id = $1',
    [contextId],
  )) as [{ known: number }];
  const names = fieldsOf(rules).filter((name) => !FIXED_FIELDS.has(name));
  const { left, right, targets } = await openColumns(tx, contextId, loads, known, names);
  watch.begin('reading', known + recordsOf(loads));
  const columns = [FIXED_COLUMNS, ...names.map(selected)].join(', ');
  const read = async (sql: string, take: TakeRow) => {
    const { stream } = tx.copyOut(`COPY (${sql}) TO STDOUT (FORMAT binary)`);
    await readBinaryRows(stream, take, () => watch.at(left.size + right.size));
  };
  if (known > 0) {
    await read(
      `SELECT t.* FROM exceptions e CROSS JOIN LATERAL (
         SELECT source_id, ${columns} FROM transactions WHERE id = e.transaction_id OFFSET 0) t
        WHERE e.context_id = ${contextId} ORDER BY e.transaction_id`,
      bySource(targets),
    );
  }
  left.known = left.size;
  right.known = right.size;
  const small = loads.filter(({ records }) => records < SMALL);
  if (small.length > 0) {
    await read(
      `SELECT t.* FROM unnest('{${small.map(({ id }) => id)}}'::bigint[]) AS load CROSS JOIN LATERAL (
         SELECT source_id, ${columns} FROM transactions WHERE id >= load << 26 AND id < (load + 1) << 26 OFFSET 0) t`,
      bySource(targets),
    );
  }
  for (const { id, source_id } of loads.filter(({ records }) => records >= SMALL)) {
    const target = targets.get(source_id) as Target;
    await read(
      `SELECT ${columns} FROM transactions WHERE id >= ${id}::bigint << 26 AND id < ${id + 1}::bigint << 26`,
      (bytes, at, end) => target.columns.take(target.code, bytes, at, end),
    );
  }
  return { left: left.done(), right: right.done(), loads: loads.map(({ id }) => id) };
}

/** Empty columns for both sides, and which source's rows go where. */
async function openColumns(
  tx: Transaction,
  contextId: number,
  loads: readonly LoadRow[],
  known: number,
  names: readonly string[],
) {
  const sources = await tx.query<{ id: number; name: string; side: Side }>(
    'SELECT id, name, side FROM sources WHERE context_id = $1 ORDER BY id',
    [contextId],
  );
  const columnsOf = (side: Side) => {
    const own = new Set(sources.filter((source) => source.side === side).map(({ id }) => id));
    return new OpenColumns(known + recordsOf(loads.filter(({ source_id }) => own.has(source_id))), names);
  };
  const [left, right] = [columnsOf('LEFT'), columnsOf('RIGHT')];
  const targets = new Map<number, Target>();
  for (const { id, name, side } of sources) {
    const columns = side === 'LEFT' ? left : right;
    targets.set(id, { columns, code: columns.sourceCode(name) });
  }
  return { left, right, targets };
}

/** Takes rows that say their source first. */
function bySource(targets: ReadonlyMap<number, Target>): TakeRow {
  return (bytes, at, end) => {
    if (at + 8 > end) return INCOMPLETE;
    const { columns, code } = targets.get(int32At(bytes, at + 4)) as Target;
    return columns.take(code, bytes, at + 8, end);
  };
}

function selected(name: string): string {
  if (name === 'description') return 'description';
  const ofMetadata = `metadata ->> ${escapeLiteral(name)}`;
  const mapped = MAPPED.get(name);
  return mapped === undefined ? ofMetadata : `coalesce(${mapped}, ${ofMetadata})`;
}

function recordsOf(loads: readonly LoadRow[]): number {
  return loads.reduce((sum, { records }) => sum + records, 0);
}
