import type { Client } from 'pg';

/** A day's records, on both sides together. */
const daily = 20_000;
/** Days that go in at once. */
const batch = 50;

/**
 * Gives a context with the sources `ledger` and `statement` a past: on each day a load a side, and a run that settled both, pair by pair.
 *
 * @param settled records, in whole days.
 */
export async function makeHistory(
  database: Client,
  context: string,
  settled: number,
  onProgress: (records: number) => void,
): Promise<void> {
  const days = Math.ceil(settled / daily);
  for (let from = 1; from <= days; from += batch) {
    const to = Math.min(from + batch - 1, days);
    await database.query('BEGIN');
    const values = [context, from, to, daily / 2];
    await database.query(
      `CREATE TEMPORARY TABLE days ON COMMIT DROP AS
       WITH c AS (SELECT id FROM contexts WHERE name = $1),
            ran AS (INSERT INTO match_runs (job_id, context_id, mode, statistics)
                    SELECT concat('past-', day), c.id, 'COMMIT', '{}' FROM c, generate_series($2::integer, $3::integer) day ORDER BY day
                    RETURNING id, job_id),
            loaded AS (INSERT INTO loads (context_id, source_id, job_id, records, taken_by_run)
                       SELECT s.context_id, s.id, concat(ran.job_id, '-', s.side), $4, ran.id
                         FROM ran CROSS JOIN sources s JOIN c ON c.id = s.context_id ORDER BY ran.id, s.side
                       RETURNING id, context_id, source_id, taken_by_run)
       SELECT loaded.id AS load, loaded.context_id, source_id, taken_by_run AS run, s.side
         FROM loaded JOIN sources s ON s.id = loaded.source_id`,
      values,
    );
    const ids = `(load::bigint << 26) + n AS id`;
    await database.query(
      `INSERT INTO transactions (id, source_id, external_id, amount, currency, occurred_at, metadata)
       SELECT ${ids}, source_id, concat('P-', lpad(load::text, 6, '0'), '-', lpad(n::text, 8, '0')), (run * 7919 + n * 104729) % 1000000000 / 100.0,
              'EUR', '2024-01-01Z'::timestamptz + make_interval(days => run), jsonb_build_object('reference', concat('PAST', lpad(run::text, 7, '0'), lpad(n::text, 10, '0')))
         FROM days, generate_series(1, ${daily / 2}::bigint) n ORDER BY id`,
    );
    await database.query(
      `INSERT INTO match_groups (id, context_id, rule, status, confidence, amount_score, currency_score, date_score, reference_score)
       SELECT (run::bigint << 26) + n - 1 AS id, context_id, 'exact', 'CONFIRMED', 100, 10000, 10000, 10000, 10000
         FROM days, generate_series(1, ${daily / 2}::bigint) n WHERE side = 'LEFT' ORDER BY id`,
    );
    await database.query(
      `INSERT INTO match_items (transaction_id, group_id, side, amount)
       SELECT ${ids}, (run::bigint << 26) + n - 1, left(side, 1)::"char", (run * 7919 + n * 104729) % 1000000000 / 100.0
         FROM days, generate_series(1, ${daily / 2}::bigint) n ORDER BY id`,
    );
    await database.query('COMMIT');
    onProgress(to * daily);
  }
}
