import { copyRow, inChunks } from '@matcher/shared/postgres/copy-text.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import type { Rejection } from './read-fields.ts';
import type { LoadableTransaction } from './read-transaction.ts';

/** Rejected records that are kept with their reasons; the rest of a hopeless file is only counted. */
export const maxKeptRejections = 10_000;

export interface LoadTarget {
  contextId: number;
  sourceId: number;
  jobId: string;
}

/** Brings a file's transactions into a table of this transaction alone. Returns how many. */
export async function stage(tx: Transaction, transactions: AsyncIterable<LoadableTransaction>): Promise<number> {
  await tx.query(
    `CREATE TEMPORARY TABLE incoming (
       row integer NOT NULL, external_id text NOT NULL, amount numeric(28, 8) NOT NULL, currency char(3) NOT NULL,
       occurred_at timestamptz NOT NULL, description text, metadata jsonb NOT NULL,
       amount_base numeric(28, 8), base_currency char(3), fx_rate numeric(38, 18)) ON COMMIT DROP`,
  );
  async function* rows() {
    for await (const t of transactions) {
      const { row, externalId, amount, currency, occurredAt, description, metadata, amountBase, baseCurrency, fxRate } =
        t;
      yield copyRow([
        row,
        externalId,
        amount,
        currency,
        occurredAt,
        description,
        metadata,
        amountBase,
        baseCurrency,
        fxRate,
      ]);
    }
  }
  const staged = await tx.copyIn('COPY incoming FROM STDIN', inChunks(rows()));
  await tx.query('ANALYZE incoming');
  return staged;
}

/**
 * Takes out of the staged records what repeats another record of the file or changes a loaded one: a transaction does not change once it
 * is loaded.
 *
 * @returns how many, and the first of each kind, `maxKeptRejections` at most: a file may repeat one record a million times.
 */
export async function rejectRepeated(
  tx: Transaction,
  { sourceId }: LoadTarget,
): Promise<{ count: number; rejections: Rejection[] }> {
  const repeated = await tx.query<{ row: number; first: number; total: number }>(
    `WITH numbered AS (SELECT row, min(row) OVER (PARTITION BY external_id) AS first FROM incoming),
          gone AS (DELETE FROM incoming USING numbered
                    WHERE numbered.row = incoming.row AND numbered.row > numbered.first
                RETURNING numbered.row, numbered.first)
     SELECT row, first, count(*) OVER ()::int AS total FROM gone ORDER BY row LIMIT $1`,
    [maxKeptRejections],
  );
  const changed = await tx.query<{ row: number; total: number }>(
    `WITH gone AS (DELETE FROM incoming USING transactions t
      WHERE t.source_id = $1 AND t.external_id = incoming.external_id
        AND (t.amount, t.currency, t.occurred_at, t.description, t.metadata, t.amount_base, t.base_currency, t.fx_rate)
            IS DISTINCT FROM (incoming.amount, incoming.currency, incoming.occurred_at, incoming.description, incoming.metadata,
                              incoming.amount_base, incoming.base_currency, incoming.fx_rate)
     RETURNING incoming.row)
     SELECT row, count(*) OVER ()::int AS total FROM gone ORDER BY row LIMIT $2`,
    [sourceId, maxKeptRejections],
  );
  const rejections = [
    ...repeated.map(
      ({ row, first }): Rejection => ({
        row,
        field: 'external_id',
        code: 'DUPLICATE_IN_FILE',
        reason: `the same external_id is in record ${first} of this file`,
      }),
    ),
    ...changed.map(
      ({ row }): Rejection => ({
        row,
        field: 'external_id',
        code: 'CHANGED_RECORD',
        reason: 'a record with this external_id is loaded, with other content; loaded records do not change',
      }),
    ),
  ];
  return { count: (repeated[0]?.total ?? 0) + (changed[0]?.total ?? 0), rejections };
}

/** Makes the staged records that are new the source's transactions, as one load, in key order. Returns how many. */
export async function insertNew(tx: Transaction, target: LoadTarget): Promise<number> {
  await tx.query(
    `DELETE FROM incoming USING transactions t WHERE t.source_id = $1 AND t.external_id = incoming.external_id`,
    [target.sourceId],
  );
  const [found] = await tx.query<{ count: number }>('SELECT count(*)::int AS count FROM incoming');
  const count = found?.count ?? 0;
  if (count === 0) return 0;
  const [load] = await tx.query<{ id: number }>(
    'INSERT INTO loads (context_id, source_id, job_id, records) VALUES ($1, $2, $3, $4) RETURNING id',
    [target.contextId, target.sourceId, target.jobId, count],
  );
  return await tx.execute(
    `INSERT INTO transactions (id, source_id, external_id, amount, currency, occurred_at, description, metadata,
                               amount_base, base_currency, fx_rate)
     SELECT ($1::bigint << 26) + row, $2, external_id, amount, currency, occurred_at, description, metadata,
            amount_base, base_currency, fx_rate
       FROM incoming ORDER BY row`,
    [load?.id, target.sourceId],
  );
}

/** Keeps what was rejected, so that it can be looked up after the job. */
export async function keepRejections(tx: Transaction, jobId: string, rejections: readonly Rejection[]): Promise<void> {
  await tx.copyIn(
    'COPY rejected_records (job_id, row, field, reason, code) FROM STDIN',
    inChunks(rejections.slice(0, maxKeptRejections).map((r) => copyRow([jobId, r.row, r.field, r.reason, r.code]))),
  );
}
