import type { Client } from 'pg';
import { beside, emptyTablesBeside } from './bare-copy.ts';
import type { LoadedSides } from './load-sides.ts';

/** How long (s) a statement may take. */
export const patienceSec = 120;

/** PostgreSQL's code for a statement that was cancelled, here for its time. */
const cancelled = '57014';

export type PairsQuery = (sides: LoadedSides) => string;

const rowsOf = (load: number) =>
  `FROM transactions WHERE id >= ${load}::bigint << 26 AND id < ${load + 1}::bigint << 26`;

/** The k-th of the left with the k-th of the right that share currency, amount and reference. */
export const exactPairs: PairsQuery = ({ left, right }) => {
  const numbered = (load: number) =>
    `SELECT id, currency, amount, metadata ->> 'reference' AS reference,
            row_number() OVER (PARTITION BY currency, amount, metadata ->> 'reference' ORDER BY external_id) AS k ${rowsOf(load)}`;
  return `
    WITH l AS (${numbered(left)}), r AS (${numbered(right)})
    SELECT l.id AS l, l.amount AS left_amount, r.id AS r, r.amount AS right_amount
      FROM l JOIN r USING (currency, amount, reference, k)`;
};

/**
 * Within 0.05 and three days: left records in the one or two buckets of half a unit that they reach, right ones in their own, joined on
 * currency and bucket; of the candidates those that are nearest from both ends. That is one round of what nearest first asks for: it leaves
 * open whose nearest has a nearer one.
 */
export const tolerancePairs: PairsQuery = ({ left, right }) => `
    WITH l AS (SELECT id, external_id, currency, amount, (occurred_at AT TIME ZONE 'UTC')::date AS day,
                      generate_series(floor((amount - 0.05) * 2)::bigint, floor((amount + 0.05) * 2)::bigint) AS bucket ${rowsOf(left)}),
         r AS (SELECT id, external_id, currency, amount, (occurred_at AT TIME ZONE 'UTC')::date AS day,
                      floor(amount * 2)::bigint AS bucket ${rowsOf(right)}),
         candidates AS (
           SELECT l.id AS l, l.amount AS left_amount, r.id AS r, r.amount AS right_amount, l.external_id AS left_id, r.external_id AS right_id,
                  abs(l.amount - r.amount) AS difference, abs(l.day - r.day) AS days
             FROM l JOIN r USING (currency, bucket)
            WHERE abs(l.amount - r.amount) <= 0.05 AND abs(l.day - r.day) <= 3),
         ranked AS (
           SELECT *, row_number() OVER (PARTITION BY l ORDER BY difference, days, left_id, right_id) AS of_left,
                     row_number() OVER (PARTITION BY r ORDER BY difference, days, left_id, right_id) AS of_right FROM candidates)
    SELECT l, left_amount, r, right_amount FROM ranked WHERE of_left = 1 AND of_right = 1`;

/**
 * What somebody would write who has nothing but the database: pairs into a table, groups, items and what stays open from it, in one transaction, with
 * memory to sort and hash in.
 *
 * @returns undefined when a statement did not end in time.
 */
export async function inPlainSql(
  database: Client,
  sides: LoadedSides,
  pairs: PairsQuery,
): Promise<{ ms: number; pairs: number } | undefined> {
  await emptyTablesBeside(database);
  const { left, right } = sides;
  const begin = performance.now();
  try {
    await database.query(`BEGIN; SET LOCAL work_mem = '256MB'; SET LOCAL statement_timeout = '${patienceSec} s'`);
    const { rowCount } = await database.query(
      `CREATE TEMPORARY TABLE pairs ON COMMIT DROP AS
       SELECT (1::bigint << 26) + row_number() OVER () - 1 AS id, p.* FROM (${pairs(sides)}) p`,
    );
    await database.query(`
      INSERT INTO ${beside}.match_groups (id, context_id, rule, status, confidence, amount_score, currency_score, date_score, reference_score)
      SELECT id, 1, 'plain', 'CONFIRMED', 100, 10000, 10000, 10000, 10000 FROM pairs;
      INSERT INTO ${beside}.match_items (transaction_id, group_id, side, amount)
      SELECT l, id, 'L'::"char", left_amount FROM pairs UNION ALL SELECT r, id, 'R', right_amount FROM pairs ORDER BY 1;
      INSERT INTO ${beside}.exceptions (transaction_id, context_id, reason, severity, due_at)
      SELECT id, 1, 'UNMATCHED', 'LOW', now() + interval '168 hours'
        FROM (SELECT id ${rowsOf(left)} UNION ALL SELECT id ${rowsOf(right)}) t
       WHERE NOT EXISTS (SELECT FROM ${beside}.match_items WHERE transaction_id = t.id) ORDER BY id;
      COMMIT`);
    return { ms: performance.now() - begin, pairs: rowCount ?? 0 };
  } catch (error) {
    await database.query('ROLLBACK');
    if ((error as { code?: string }).code === cancelled) return undefined;
    throw error;
  }
}
