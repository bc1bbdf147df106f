import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { copyRow, inChunks } from '@matcher/shared/postgres/copy-text.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';
import { APART } from './engine/kept-apart.ts';
import { type Found, OPEN_REASONS, type OpenRows } from './found.ts';
import type { OpenTransactions } from './open-transactions.ts';
import { dueSql, severitySql } from './severity.ts';

/** One of the other side's transactions that came near. */
interface NearMiss {
  transactionId: string;
  rule: string;
  /** What kept the two apart: names of `APART`. */
  apart: string[];
}

/** What an exception's details say; what does not hold is not there. */
interface Details {
  /** The nearest first. */
  nearMisses?: NearMiss[];
  /** Of a whole and its parts: the rule that could not settle them, and what the whole has beyond all its parts. */
  rule?: string;
  gap?: string;
}

const wordsOfApart = Object.entries(APART);

/**
 * Writes an exception for each transaction that stayed open. A known one keeps its opening and whoever works on it; it gets its new reason, and becomes more
 * urgent as it ages.
 */
export async function writeExceptions(
  tx: Transaction,
  contextId: number,
  ruleNames: readonly string[],
  open: OpenTransactions,
  found: Found['open'],
): Promise<void> {
  await tx.query(
    'CREATE TEMPORARY TABLE still_open (id bigint PRIMARY KEY, reason text NOT NULL, details jsonb NOT NULL) ON COMMIT DROP',
  );
  await tx.copyIn('COPY still_open FROM STDIN', inChunks(openRows(ruleNames, open, found)));
  await tx.query(
    `INSERT INTO exceptions AS known (transaction_id, context_id, reason, severity, due_at, details)
     SELECT id, $1, reason, ${severitySql}, ${dueSql}, details FROM still_open JOIN transactions USING (id) ORDER BY id
     ON CONFLICT (transaction_id) DO UPDATE
        SET reason = excluded.reason, severity = excluded.severity, details = excluded.details,
            due_at = CASE WHEN known.severity = excluded.severity THEN known.due_at ELSE least(known.due_at, excluded.due_at) END
      WHERE (known.reason, known.severity, known.details) IS DISTINCT FROM (excluded.reason, excluded.severity, excluded.details)`,
    [contextId],
  );
}

/** In the order of the transactions' ids. */
function* openRows(ruleNames: readonly string[], open: OpenTransactions, found: Found['open']): Generator<string> {
  const entries: { key: bigint; side: 'left' | 'right'; at: number }[] = [];
  for (const side of ['left', 'right'] as const) {
    found[side].rows.forEach((row, at) => {
      entries.push({ key: BigInt(open[side].ids[row] as string), side, at });
    });
  }
  entries.sort((a, b) => (a.key < b.key ? -1 : 1));
  for (const { key, side, at } of entries) {
    const others = open[side === 'left' ? 'right' : 'left'].ids;
    const reason = OPEN_REASONS[found[side].reason[at] as number] as string;
    yield copyRow([key, reason, JSON.stringify(detailsOf(found[side], at, others, ruleNames))]);
  }
}

function detailsOf(open: OpenRows, at: number, others: readonly string[], ruleNames: readonly string[]): Details {
  const details: Details = {};
  const [from, to] = [open.missStart[at] as number, open.missStart[at + 1] as number];
  if (to > from) {
    details.nearMisses = Array.from({ length: to - from }, (_, i) => ({
      transactionId: others[open.missRow[from + i] as number] as string,
      rule: ruleNames[open.missRule[from + i] as number] as string,
      apart: wordsOfApart.filter(([, bit]) => (open.missApart[from + i] as number) & bit).map(([word]) => word),
    }));
  }
  const finding = open.findings.get(open.rows[at] as number);
  if (finding) {
    details.rule = ruleNames[finding.rule] as string;
    if (finding.gap !== null) details.gap = formatAmount(finding.gap);
  }
  return details;
}
