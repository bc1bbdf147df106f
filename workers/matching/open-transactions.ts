import type { Side } from '@matcher/shared/jobs/contracts/context.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { parseAmount } from '@matcher/shared/money/decimal.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';
import type { Columns } from './engine/types.ts';

/** One side's open transactions, as the engine takes them, and which transaction each row is. */
export interface OpenSide extends Columns {
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
  fields: (string | null)[];
}

const canonical = new Set(['external_id', 'amount', 'currency', 'date', 'description']);

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
  const names = metadataFields(rules);
  const rows = await tx.query<Row>(
    `WITH open AS (
       SELECT t.* FROM loads l JOIN transactions t ON t.id >= l.id::bigint << 26 AND t.id < (l.id::bigint + 1) << 26
        WHERE l.id = ANY($1)
       UNION ALL
       SELECT t.* FROM exceptions e JOIN transactions t ON t.id = e.transaction_id WHERE e.context_id = $2
     )
     SELECT o.id, s.side, s.name AS source, o.external_id, o.amount, o.currency, o.description,
            round(extract(epoch FROM o.occurred_at) * 1000)::float8 AS occurred_ms,
            ARRAY(SELECT o.metadata ->> name FROM unnest($3::text[]) WITH ORDINALITY AS n(name, i) ORDER BY i) AS fields
       FROM open o JOIN sources s ON s.id = o.source_id`,
    [loadIds, contextId, names],
  );
  const side = (wanted: Side) =>
    columnsOf(
      rows.filter((row) => row.side === wanted),
      names,
    );
  return { left: side('LEFT'), right: side('RIGHT'), loads: loadIds };
}

function metadataFields(rules: readonly Rule[]): string[] {
  const names = rules.flatMap(({ config }) => [
    ...config.matchFields,
    ...('referenceField' in config ? [config.referenceField] : []),
  ]);
  return [...new Set(names)].filter((name) => !canonical.has(name));
}

function columnsOf(rows: readonly Row[], names: readonly string[]): OpenSide {
  return {
    size: rows.length,
    ids: rows.map((row) => row.id),
    source: rows.map((row) => row.source),
    externalId: rows.map((row) => row.external_id),
    amount: rows.map((row) => parseAmount(trimZeros(row.amount))),
    currency: rows.map((row) => row.currency),
    timestamp: rows.map((row) => row.occurred_ms),
    field(name) {
      switch (name) {
        case 'external_id':
          return rows.map((row) => row.external_id);
        case 'amount':
          return rows.map((row) => trimZeros(row.amount));
        case 'currency':
          return rows.map((row) => row.currency);
        case 'date':
          return rows.map((row) => new Date(row.occurred_ms).toISOString().slice(0, 10));
        case 'description':
          return rows.map((row) => row.description);
        default: {
          const index = names.indexOf(name);
          return rows.map((row) => row.fields[index] ?? null);
        }
      }
    },
  };
}

/** PostgreSQL writes a numeric(28, 8) with all its decimals, more digits than an amount may have. */
function trimZeros(amount: string): string {
  return amount.includes('.') ? amount.replace(/\.?0+$/, '') : amount;
}
