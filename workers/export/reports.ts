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
  `CASE WHEN (${column}) ~ '^[[:space:][:cntrl:]\u00A0\uFEFF\u200B-\u200F]*[=+@＝＋＠－-]' THEN '''' || (${column}) ELSE ${column} END`;

const day = (transaction: string): string => `(${transaction}.occurred_at AT TIME ZONE 'UTC')::date`;

const time = (column: string): string => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;

/** @param line the group's line; `difference` and `days` are of the group. */
const groupColumns = (line: string, difference: string, days: string, left: string, right: string): string => `
  g.id AS group_id, ${text('g.rule')} AS rule, g.status, g.confidence,
  ls.name AS left_source, ${text('l.external_id')} AS left_external_id, ${money('l.amount', 'l.currency')} AS left_amount,
  l.currency AS left_currency, ${time('l.occurred_at')} AS left_date, ${text('l.description')} AS left_description,
  rs.name AS right_source, ${text('r.external_id')} AS right_external_id, ${money('r.amount', 'r.currency')} AS right_amount,
  r.currency AS right_currency, ${time('r.occurred_at')} AS right_date, ${text('r.description')} AS right_description,
  ${money(difference, 'l.currency')} AS difference, ${days} AS days_apart,
  ${line} AS group_line, ${money(left, 'l.currency')} AS left_allocated, ${money(right, 'r.currency')} AS right_allocated`;

/**
 * A group's records stand beside each other, each once: line n has its nth left and its nth right one, in the order in which they were loaded, and blanks
 * where a side has no more. So a pair is one line, and the sums of a column are those of the records. What is said of the group as a whole stands in its first
 * line. Pairs, which are nearly all there is, are a query of their own, which PostgreSQL can share out over several processes.
 */
const matched = (contextId: number): string => {
  const live = `g.context_id = ${contextId} AND g.status IN ('CONFIRMED', 'PROPOSED')`;
  return `
  WITH item AS (
    SELECT g.id AS group_id, i.side, i.transaction_id, i.amount, ${day('t')} AS day,
           row_number() OVER (PARTITION BY g.id, i.side ORDER BY i.transaction_id) AS line
      FROM match_groups g JOIN match_items i ON i.group_id = g.id JOIN transactions t ON t.id = i.transaction_id
     WHERE ${live} AND g.items > 2),
  whole AS (
    SELECT group_id, sum(amount) FILTER (WHERE side = 'L') - sum(amount) FILTER (WHERE side = 'R') AS difference,
           greatest(max(day) FILTER (WHERE side = 'L') - min(day) FILTER (WHERE side = 'R'),
                    max(day) FILTER (WHERE side = 'R') - min(day) FILTER (WHERE side = 'L')) AS days
      FROM item GROUP BY group_id),
  beside AS (
    SELECT group_id, line,
           max(transaction_id) FILTER (WHERE side = 'L') AS left_id, max(amount) FILTER (WHERE side = 'L') AS left_allocated,
           max(transaction_id) FILTER (WHERE side = 'R') AS right_id, max(amount) FILTER (WHERE side = 'R') AS right_allocated
      FROM item GROUP BY group_id, line)
  SELECT ${groupColumns('1', 'li.amount - ri.amount', `abs(${day('l')} - ${day('r')})`, 'li.amount', 'ri.amount')}
    FROM match_groups g
    JOIN match_items li ON li.group_id = g.id AND li.side = 'L'
    JOIN match_items ri ON ri.group_id = g.id AND ri.side = 'R'
    JOIN transactions l ON l.id = li.transaction_id
    JOIN transactions r ON r.id = ri.transaction_id
    JOIN sources ls ON ls.id = l.source_id
    JOIN sources rs ON rs.id = r.source_id
   WHERE ${live} AND g.items = 2
  UNION ALL
  SELECT ${groupColumns('b.line', 'w.difference', 'w.days', 'b.left_allocated', 'b.right_allocated')}
    FROM beside b
    JOIN match_groups g ON g.id = b.group_id
    LEFT JOIN whole w ON w.group_id = b.group_id AND b.line = 1
    LEFT JOIN transactions l ON l.id = b.left_id
    LEFT JOIN transactions r ON r.id = b.right_id
    LEFT JOIN sources ls ON ls.id = l.source_id
    LEFT JOIN sources rs ON rs.id = r.source_id
   ORDER BY group_id, group_line`;
};

const transactionColumns = `
  s.side, s.name AS source, ${text('t.external_id')} AS external_id, ${money('t.amount', 't.currency')} AS amount, t.currency,
  ${time('t.occurred_at')} AS date, ${text('t.description')} AS description`;

/** The transaction that came nearest to an exception's, and what kept the two apart; of wholes and parts, what is missing. */
const detailColumns = (details: string): string => `
  ns.name AS nearest_source, ${text('n.external_id')} AS nearest_external_id, ${money('n.amount', 'n.currency')} AS nearest_amount,
  n.currency AS nearest_currency, ${time('n.occurred_at')} AS nearest_date, ${text(`${details} #>> '{nearMisses,0,rule}'`)} AS nearest_rule,
  (SELECT string_agg(word, ' ') FROM jsonb_array_elements_text(${details} #> '{nearMisses,0,apart}') AS word) AS kept_apart,
  ${money(`(${details} ->> 'gap')::numeric`, 't.currency')} AS gap`;

const nearest = (details: string): string => `
    LEFT JOIN transactions n ON n.id = (${details} #>> '{nearMisses,0,transactionId}')::bigint
    LEFT JOIN sources ns ON ns.id = n.source_id`;

/** What no run has matched: open exceptions, and what came in since the last run. */
const unmatched = (contextId: number): string => `
  WITH open AS (
    SELECT transaction_id AS id, reason, details FROM exceptions WHERE context_id = ${contextId}
    UNION ALL
    SELECT t.id, 'NOT_RUN_YET', NULL FROM loads l
      JOIN transactions t ON t.id >= l.id::bigint << 26 AND t.id < (l.id::bigint + 1) << 26
     WHERE l.context_id = ${contextId} AND l.taken_by_run IS NULL)
  SELECT ${transactionColumns}, o.reason, ${detailColumns('o.details')}
    FROM open o JOIN transactions t ON t.id = o.id JOIN sources s ON s.id = t.source_id ${nearest('o.details')}
   ORDER BY s.side, t.occurred_at, t.external_id, t.id`;

const exceptions = (contextId: number): string => `
  SELECT ${transactionColumns}, e.reason, e.severity, e.status, ${time('e.opened_at')} AS opened_at, ${time('e.due_at')} AS due_at,
         ${detailColumns('e.details')}
    FROM exceptions e JOIN transactions t ON t.id = e.transaction_id JOIN sources s ON s.id = t.source_id ${nearest('e.details')}
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
