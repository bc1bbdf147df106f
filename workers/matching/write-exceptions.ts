import { BinaryRows } from '@matcher/shared/postgres/copy-binary-write.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { DetailsText } from './exception-details.ts';
import { type Found, OPEN_REASONS } from './found.ts';
import { MergedRows, type SideName, type Wanted } from './merged-rows.ts';
import type { OpenSide } from './open-side.ts';
import type { OpenTransactions } from './read-open.ts';
import { HOUR_MS, type Severity, severities, type Urgency, urgencyOf } from './severity.ts';
import type { WrittenRun } from './write-run.ts';

const sides = ['left', 'right'] as const;
const reasonBytes = OPEN_REASONS.map((reason) => Buffer.from(reason));
const severityBytes = Object.fromEntries(severities.map((severity) => [severity, Buffer.from(severity)])) as Record<
  Severity,
  Buffer
>;

/** The number of a known exception whose transaction is matched now; an open one's is that of its entry plus 1. */
const SETTLED = 0;

/**
 * Writes an exception for each transaction that stayed open, and takes those away whose transaction is matched. A known one keeps its opening and whoever
 * works on it; it gets its new reason, and becomes more urgent as it ages. A transaction that no run has seen before has none yet.
 *
 * @param report is told how many are written.
 */
export async function writeExceptions(
  tx: Transaction,
  run: WrittenRun,
  open: OpenTransactions,
  found: Found,
  report: (done: number) => void,
): Promise<void> {
  const details = new DetailsText(run.rules, open, found.open);
  // As PostgreSQL's now(): that of the transaction.
  const [{ now }] = (await tx.query<{ now: Date }>('SELECT now() AS now')) as [{ now: Date }];
  const rows = new ExceptionRows(open, found, details, now.getTime(), report);
  await tx.copyIn(
    'COPY exceptions (transaction_id, reason, severity, due_at, details, context_id) FROM STDIN (FORMAT binary)',
    rows.fresh(run.contextId),
  );
  if (open.left.known + open.right.known === 0) return;
  await tx.query(
    `CREATE TEMPORARY TABLE known (
       transaction_id bigint PRIMARY KEY, reason text, severity text, due_at timestamptz, details jsonb) ON COMMIT DROP`,
  );
  await tx.copyIn(
    'COPY known (transaction_id, reason, severity, due_at, details) FROM STDIN (FORMAT binary)',
    rows.known(),
  );
  await tx.query('ANALYZE known');
  await tx.query(
    'DELETE FROM exceptions e USING known k WHERE k.reason IS NULL AND e.transaction_id = k.transaction_id',
  );
  await tx.query(
    `UPDATE exceptions e
        SET reason = k.reason, severity = k.severity, details = k.details,
            due_at = CASE WHEN e.severity = k.severity THEN e.due_at ELSE least(e.due_at, k.due_at) END
       FROM known k
      WHERE e.transaction_id = k.transaction_id AND k.reason IS NOT NULL
        AND (e.reason, e.severity, e.details) IS DISTINCT FROM (k.reason, k.severity, k.details)`,
  );
}

/** Exceptions in the order of their transactions' ids, in COPY's binary format. */
class ExceptionRows {
  readonly #open: OpenTransactions;
  readonly #found: Found;
  readonly #details: DetailsText;
  readonly #now: number;
  readonly #report: (done: number) => void;
  #done = 0;

  constructor(open: OpenTransactions, found: Found, details: DetailsText, now: number, report: (done: number) => void) {
    this.#open = open;
    this.#found = found;
    this.#details = details;
    this.#now = now;
    this.#report = report;
  }

  *fresh(contextId: number): Generator<Buffer> {
    const entries = this.#entries((side, row) => row >= this.#open[side].known);
    yield* this.#rows(entries, 6, (rows, side, row, entry) => {
      this.#exception(rows, side, row, entry);
      rows.int4(contextId);
    });
  }

  /** All that are known; without a reason those that are settled. */
  *known(): Generator<Buffer> {
    const entries = this.#entries((side, row) => row < this.#open[side].known);
    for (const side of sides) {
      const numbers = entries[side];
      for (let row = 0; row < this.#open[side].known; row++) numbers[row] = (numbers[row] as number) + 1;
    }
    yield* this.#rows(entries, 5, (rows, side, row, number) => {
      if (number !== SETTLED) {
        this.#exception(rows, side, row, number - 1);
        return;
      }
      this.#id(rows, side, row);
      for (let field = 1; field < 5; field++) rows.null();
    });
  }

  /** By row, which entry of the open rows it is; -1 for those that are passed over. */
  #entries(isWanted: (side: SideName, row: number) => boolean): Wanted {
    const of = (side: SideName) => {
      const entries = new Int32Array(this.#open[side].size).fill(-1);
      const { rows } = this.#found.open[side];
      for (let entry = 0; entry < rows.length; entry++) {
        const row = rows[entry] as number;
        if (isWanted(side, row)) entries[row] = entry;
      }
      return entries;
    };
    return { left: of('left'), right: of('right') };
  }

  *#rows(
    wanted: Wanted,
    fields: number,
    write: (rows: BinaryRows, side: SideName, row: number, value: number) => void,
  ): Generator<Buffer> {
    const merged = new MergedRows(this.#open.left, this.#open.right, wanted);
    const rows = new BinaryRows();
    while (merged.next()) {
      rows.begin(fields);
      write(rows, merged.side, merged.row, merged.value);
      this.#done++;
      const chunk = rows.full();
      if (chunk === undefined) continue;
      this.#report(this.#done);
      yield chunk;
    }
    yield rows.end();
  }

  #exception(rows: BinaryRows, side: SideName, row: number, entry: number): void {
    const { severity, dueHours } = this.#urgency(this.#open[side], row);
    this.#id(rows, side, row);
    rows.bytes(reasonBytes[this.#found.open[side].reason[entry] as number] as Buffer);
    rows.bytes(severityBytes[severity]);
    rows.time(this.#now + dueHours * HOUR_MS);
    rows.jsonb(this.#details.of(side, entry));
  }

  #id(rows: BinaryRows, side: SideName, row: number): void {
    const { ids } = this.#open[side];
    rows.int8(ids.high[row] as number, ids.low[row] as number);
  }

  #urgency({ columns }: OpenSide, row: number): Urgency {
    const { amount, amountBase, timestamp } = columns;
    const { low, high } = amountBase !== undefined && amountBase.missing[row] === 0 ? amountBase : amount;
    const size = (high?.[row] ?? 0) * 1e14 + (low[row] as number);
    return urgencyOf(size, this.#now - (timestamp[row] as number));
  }
}
