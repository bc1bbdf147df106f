import { MatcherError } from '@matcher/shared/errors.ts';
import type { JobBody } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { Side } from '@matcher/shared/jobs/contracts/context.ts';
import { parseAmount } from '@matcher/shared/money/decimal.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { listed } from './decided-groups.ts';
import type { FoundContext } from './find-context.ts';

/** An open transaction that a person has named by its source and `external_id`. */
export interface NamedTransaction {
  id: string;
  side: Side;
  amount: bigint;
  currency: string;
}

interface Row {
  source: string;
  external_id: string;
  wanted: Side;
  side: Side | null;
  id: string | null;
  amount: string;
  currency: string;
  group_id: string | null;
  open: boolean;
}

/**
 * Finds the transactions of a person's own group, in the order in which they are named, left ones first. What no run has seen yet is not open: the next one would
 * take it.
 *
 * @throws MatcherError `TRANSACTION_NOT_FOUND`, `TRANSACTION_ON_OTHER_SIDE`, `TRANSACTION_NOT_OPEN`; each names all that it is about.
 */
export async function openRecords(
  tx: Transaction,
  context: FoundContext,
  { left, right }: Pick<JobBody<'matching.manual'>, 'left' | 'right'>,
): Promise<NamedTransaction[]> {
  const named = [...left, ...right];
  const rows = await tx.query<Row>(
    `SELECT n.source, n.external_id, n.side AS wanted, s.side, t.id::text, t.amount, t.currency, i.group_id::text, e.transaction_id IS NOT NULL AS open
       FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS n (side, source, external_id, place)
       LEFT JOIN sources s ON s.context_id = $1 AND s.name = n.source
       LEFT JOIN transactions t ON t.source_id = s.id AND t.external_id = n.external_id
       LEFT JOIN match_items i ON i.transaction_id = t.id
       LEFT JOIN exceptions e ON e.transaction_id = t.id
      ORDER BY n.place`,
    [
      context.id,
      named.map((_, i) => (i < left.length ? 'LEFT' : 'RIGHT')),
      named.map(({ source }) => source),
      named.map(({ externalId }) => externalId),
    ],
  );
  const { name } = context.definition;
  const absent = rows.filter(({ id }) => id === null);
  if (absent.length > 0) {
    throw new MatcherError('TRANSACTION_NOT_FOUND', `The context ${name} has no ${listed(absent.map(said))}`);
  }
  const elsewhere = rows.filter(({ side, wanted }) => side !== wanted);
  if (elsewhere.length > 0) {
    throw new MatcherError('TRANSACTION_ON_OTHER_SIDE', `On the other side are ${listed(elsewhere.map(said))}`, {
      hint: 'A record stands on the side of its source.',
    });
  }
  const settled = rows.filter(({ open }) => !open);
  if (settled.length > 0) {
    const where = ({ group_id: group }: Row) => (group === null ? 'no run has seen it yet' : `in group ${group}`);
    const those = listed(settled.map((row) => `${said(row)} (${where(row)})`));
    throw new MatcherError('TRANSACTION_NOT_OPEN', `Not open are ${those}`, {
      hint: 'Match the context first where no run has seen it; reject or revoke the group that it is in where there is one.',
    });
  }
  return rows.map(({ id, wanted, amount, currency }) => ({
    id: id as string,
    side: wanted,
    amount: parseAmount(amount),
    currency,
  }));
}

function said({ external_id, source }: Row): string {
  return `${JSON.stringify(external_id)} of ${source}`;
}
