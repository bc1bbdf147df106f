import type { reports } from '@matcher/shared/jobs/contracts/bodies.ts';
import { unusualMinorDigits } from '@matcher/shared/money/currencies.ts';

/**
 * The reports, each one statement that PostgreSQL itself writes as CSV: one statement is one snapshot, so a row that changes meanwhile is
 * in the file once, and nothing passes through here row by row.
 */

/** Exact, with the decimals that the currency usually has, and more only where the amount has more. */
const money = (amount: string, currency: string): string => {
  const cases = unusualMinorDigits().map(([code, digits]) => `WHEN '${code}' THEN ${digits}`);
  const usual = `CASE ${currency} ${cases.join(' ')} ELSE 2 END`;
  return `round(${amount}, greatest(${usual}, scale(trim_scale(${amount}))))`;
};

/** Text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP, "CSV Injection"). */
const text = (column: string): string =>
  `CASE WHEN ${column} ~ '^[[:space:][:cntrl:]\u00A0\uFEFF\u200B-\u200F]*[=+@＝＋＠－-]' THEN '''' || ${column} ELSE ${column} END`;

const time = (column: string): string => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

const matched = (contextId: number): string => `
  SELECT g.id AS group_id, ${text('g.rule')} AS rule, g.status, g.confidence,
         ls.name AS left_source, ${text('l.external_id')} AS left_external_id, ${money('l.amount', 'l.currency')} AS left_amount,
         l.currency AS left_currency, ${time('l.occurred_at')} AS left_date, ${text('l.description')} AS left_description,
         rs.name AS right_source, ${text('r.external_id')} AS right_external_id, ${money('r.amount', 'r.currency')} AS right_amount,
         r.currency AS right_currency, ${time('r.occurred_at')} AS right_date, ${text('r.description')} AS right_description,
         ${money('l.amount - r.amount', 'l.currency')} AS difference,
         abs((l.occurred_at AT TIME ZONE 'UTC')::date - (r.occurred_at AT TIME ZONE 'UTC')::date) AS days_apart
    FROM match_groups g
    JOIN match_items li ON li.group_id = g.id AND li.side = 'L'
    JOIN match_items ri ON ri.group_id = g.id AND ri.side = 'R'
    JOIN transactions l ON l.id = li.transaction_id
    JOIN transactions r ON r.id = ri.transaction_id
    JOIN sources ls ON ls.id = l.source_id
    JOIN sources rs ON rs.id = r.source_id
   WHERE g.context_id = ${contextId} AND g.status IN ('CONFIRMED', 'PROPOSED')
   ORDER BY g.id`;

const transactionColumns = `
  s.side, s.name AS source, ${text('t.external_id')} AS external_id, ${money('t.amount', 't.currency')} AS amount, t.currency,
  ${time('t.occurred_at')} AS date, ${text('t.description')} AS description`;

/** What no run has matched: open exceptions, and what came in since the last run. */
const unmatched = (contextId: number): string => `
  WITH open AS (
    SELECT transaction_id AS id, reason FROM exceptions WHERE context_id = ${contextId}
    UNION ALL
    SELECT t.id, 'NOT_RUN_YET' FROM loads l
      JOIN transactions t ON t.id >= l.id::bigint << 26 AND t.id < (l.id::bigint + 1) << 26
     WHERE l.context_id = ${contextId} AND l.taken_by_run IS NULL)
  SELECT ${transactionColumns}, o.reason
    FROM open o JOIN transactions t ON t.id = o.id JOIN sources s ON s.id = t.source_id
   ORDER BY s.side, t.occurred_at, t.external_id, t.id`;

const exceptions = (contextId: number): string => `
  SELECT ${transactionColumns}, e.reason, e.severity, e.status, ${time('e.opened_at')} AS opened_at, ${time('e.due_at')} AS due_at
    FROM exceptions e JOIN transactions t ON t.id = e.transaction_id JOIN sources s ON s.id = t.source_id
   WHERE e.context_id = ${contextId}
   ORDER BY array_position(ARRAY['CRITICAL', 'HIGH', 'MEDIUM', 'LOW'], e.severity), t.occurred_at, t.external_id, t.id`;

export type Report = (typeof reports)[number];

const queries: Record<Report, (contextId: number) => string> = {
  MATCHED: matched,
  UNMATCHED: unmatched,
  EXCEPTIONS: exceptions,
};

/** The statement that writes a report as CSV. COPY takes no parameters; the only thing put into it is a number. */
export function copyReport(report: Report, contextId: number): string {
  return `COPY (${queries[report](Math.trunc(contextId))}) TO STDOUT WITH (FORMAT csv, HEADER)`;
}
