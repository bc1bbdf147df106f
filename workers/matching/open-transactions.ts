import type { Side } from '@matcher/shared/jobs/contracts/context.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { parseAmount } from '@matcher/shared/money/decimal.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';
import { fieldsOf } from './engine/fields.ts';
import type { PlainColumns } from './engine-pool.ts';

/** One side's open transactions, as the engine takes them, and which transaction each row is. */
export interface OpenSide extends PlainColumns {
  readonly ids: readonly string[];
}

export interface OpenTransactions {
  left: OpenSide;
  right: OpenSide;
  /** The loads that this run is the first to see. */
  loads: readonly number[];
}

interface Row {
  id: string;
  side: Side;
  source: string;
  external_id: string;
  amount: string;
  currency: string;
  occurred_ms: number;
  description: string | null;
  amount_base: string | null;
  base_currency: string | null;
  fx_rate: string | null;
  fields: (string | null)[];
}

/**
 * The fields that transactions have; any other name is a column of its record's metadata. So are those in the base currency where a source does not map
 * them.
 */
const canonical: ReadonlyMap<string, (row: Row) => string | null> = new Map([
  ['external_id', (row: Row) => row.external_id],
  ['amount', (row: Row) => trimZeros(row.amount)],
  ['currency', (row: Row) => row.currency],
  ['date', (row: Row) => new Date(row.occurred_ms).toISOString().slice(0, 10)],
  ['description', (row: Row) => row.description],
]);
const optional: ReadonlyMap<string, (row: Row) => string | null> = new Map([
  ['amount_base', (row: Row) => row.amount_base && trimZeros(row.amount_base)],
  ['base_currency', (row: Row) => row.base_currency],
  ['fx_rate', (row: Row) => row.fx_rate && trimZeros(row.fx_rate)],
]);

/**
 * Reads what is open in a context: what no run has seen yet, and what has an open exception. What was settled is not read. Of the metadata
 * come only the fields that the rules name.
 */
export async function readOpen(tx: Transaction, contextId: number, rules: readonly Rule[]): Promise<OpenTransactions> {
  const loads = await tx.query<{ id: number }>(
    'SELECT id FROM loads WHERE context_id = $1 AND taken_by_run IS NULL ORDER BY id',
    [contextId],
  );
  const loadIds = loads.map(({ id }) => id);
  const names = fieldsOf(rules);
  const metadata = names.filter((name) => !canonical.has(name));
  const rows = await tx.query<Row>(
    `WITH open AS (
       SELECT t.* FROM loads l JOIN transactions t ON t.id >= l.id::bigint << 26 AND t.id < (l.id::bigint + 1) << 26
        WHERE l.id = ANY($1)
       UNION ALL
       SELECT t.* FROM exceptions e JOIN transactions t ON t.id = e.transaction_id WHERE e.context_id = $2
     )
     SELECT o.id, s.side, s.name AS source, o.external_id, o.amount, o.currency, o.description,
            o.amount_base, o.base_currency, o.fx_rate,
            round(extract(epoch FROM o.occurred_at) * 1000)::float8 AS occurred_ms,
            ARRAY(SELECT o.metadata ->> name FROM unnest($3::text[]) WITH ORDINALITY AS n(name, i) ORDER BY i) AS fields
       FROM open o JOIN sources s ON s.id = o.source_id`,
    [loadIds, contextId, metadata],
  );
  const side = (wanted: Side) =>
    columnsOf(
      rows.filter((row) => row.side === wanted),
      new Map(
        names.map((name) => {
          const index = metadata.indexOf(name);
          const mapped = optional.get(name);
          return [name, canonical.get(name) ?? ((row: Row) => mapped?.(row) ?? row.fields[index] ?? null)];
        }),
      ),
    );
  return { left: side('LEFT'), right: side('RIGHT'), loads: loadIds };
}

function columnsOf(rows: readonly Row[], fields: ReadonlyMap<string, (row: Row) => string | null>): OpenSide {
  return {
    size: rows.length,
    ids: rows.map((row) => row.id),
    source: rows.map((row) => row.source),
    externalId: rows.map((row) => row.external_id),
    amount: rows.map((row) => parseAmount(trimZeros(row.amount))),
    currency: rows.map((row) => row.currency),
    timestamp: rows.map((row) => row.occurred_ms),
    amountBase: rows.map((row) => (row.amount_base === null ? null : parseAmount(trimZeros(row.amount_base)))),
    baseCurrency: rows.map((row) => row.base_currency),
    fields: new Map([...fields].map(([name, read]) => [name, rows.map(read)])),
  };
}

/** PostgreSQL writes a numeric(28, 8) with all its decimals, more digits than an amount may have. */
function trimZeros(amount: string): string {
  return amount.includes('.') ? amount.replace(/\.?0+$/, '') : amount;
}
