import { MatcherError } from '@matcher/shared/errors.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';

/** Groups as a tenant's database has them, for a person who decides about them. */

export const groupStatuses = ['PROPOSED', 'CONFIRMED', 'REJECTED', 'REVOKED'] as const;
export type GroupStatus = (typeof groupStatuses)[number];

/** One side of a group, in short. */
export interface GroupSide {
  records: number;
  /** What they are in the group for, in sum, as a decimal; null, as the currency, when they are of several currencies. */
  amount: string | null;
  currency: string | null;
  /** The one that was loaded first. */
  first: { source: string; externalId: string };
}

export interface ListedGroup {
  groupId: string;
  status: GroupStatus;
  rule: string;
  confidence: number;
  left: GroupSide;
  right: GroupSide;
}

export interface GroupItem {
  side: 'LEFT' | 'RIGHT';
  source: string;
  externalId: string;
  amount: string;
  /** What of its amount is in the group. */
  allocated: string;
  currency: string;
  date: Date;
  description: string | null;
}

export interface GroupDetails extends Omit<ListedGroup, 'left' | 'right'> {
  context: string;
  /** The job that made it. */
  madeBy: string;
  madeAt: Date;
  /** How well each part of the confidence holds, from 0 to 1; null for a person's own group. */
  scores: Record<'amount' | 'currency' | 'date' | 'reference', number> | null;
  /** Of a group that was rejected or revoked: those that it had. */
  items: GroupItem[];
  /** What persons decided about it, the first one first. */
  decisions: { status: GroupStatus; reason: string | null; decidedBy: string | null; decidedAt: Date; jobId: string }[];
}

/** Groups read at a time. */
const page = 500;

/** The items of groups that live, and of those that did. */
const itemsOf = (groups: string) =>
  ['match_items', 'match_items_history']
    .map((table) => `SELECT group_id, side, transaction_id, amount FROM ${table} WHERE group_id IN (${groups})`)
    .join(' UNION ALL ');

/**
 * Where groups of a status are looked for. No index is on it, since that would cost a run at each of its groups, which are nearly all CONFIRMED: what waits for a
 * person is in the runs that say so, and what was rejected or revoked has a decision.
 */
const places: Record<GroupStatus, string> = {
  CONFIRMED: 'match_groups g WHERE true',
  PROPOSED: `match_runs r JOIN match_groups g ON g.id >= r.id::bigint << 26 AND g.id < (r.id::bigint + 1) << 26
             WHERE r.context_id = $1 AND jsonb_path_exists(r.statistics, '$.rules[*] ? (@.proposed > 0)')`,
  REJECTED: `match_groups g WHERE g.id IN (SELECT group_id FROM match_decisions WHERE status = 'REJECTED')`,
  REVOKED: `match_groups g WHERE g.id IN (SELECT group_id FROM match_decisions WHERE status = 'REVOKED')`,
};

/**
 * The newest groups of a context, newest first, at most `limit`.
 *
 * @throws MatcherError `CONTEXT_NOT_FOUND`
 */
export async function listGroups(
  db: TenantDatabase,
  { context, status }: { context: string; status?: GroupStatus | undefined },
  limit: number,
): Promise<ListedGroup[]> {
  const [found] = await db.query<{ id: number }>('SELECT id FROM contexts WHERE name = $1', [context]);
  if (!found) throw new MatcherError('CONTEXT_NOT_FOUND', `There is no context ${context}`);
  const groups: ListedGroup[] = [];
  const those = status === undefined ? places.CONFIRMED : `${places[status]} AND g.status = '${status}'`;
  for (let before: string | null = null; groups.length < limit; ) {
    const wanted = Math.min(page, limit - groups.length);
    const rows: (Omit<ListedGroup, 'left' | 'right'> & { side: 'L' | 'R' } & GroupSide)[] = await db.query(
      `WITH page AS MATERIALIZED (
         SELECT g.id, g.status, g.rule, g.confidence FROM ${those}
            AND g.context_id = $1 AND ($2::bigint IS NULL OR g.id < $2) ORDER BY g.id DESC LIMIT $3),
       item AS (${itemsOf('SELECT id FROM page')})
       SELECT p.id::text AS "groupId", p.status, p.rule, p.confidence, i.side, count(*)::int AS records,
              CASE WHEN min(t.currency) = max(t.currency) THEN trim_scale(sum(i.amount))::text END AS amount,
              CASE WHEN min(t.currency) = max(t.currency) THEN min(t.currency) END AS currency,
              (array_agg(jsonb_build_object('source', s.name, 'externalId', t.external_id) ORDER BY t.id))[1] AS first
         FROM page p JOIN item i ON i.group_id = p.id JOIN transactions t ON t.id = i.transaction_id JOIN sources s ON s.id = t.source_id
        GROUP BY p.id, p.status, p.rule, p.confidence, i.side ORDER BY p.id DESC, i.side`,
      [found.id, before, wanted],
    );
    // Two rows a group: its left side, then its right one.
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const [left, right] = rows.slice(i, i + 2) as [(typeof rows)[number], (typeof rows)[number]];
      const { groupId, status, rule, confidence } = left;
      groups.push({ groupId, status, rule, confidence, left: sideOf(left), right: sideOf(right) });
    }
    if (rows.length < 2 * wanted) break;
    before = rows.at(-1)?.groupId ?? null;
  }
  return groups;
}

const sideOf = ({ records, amount, currency, first }: GroupSide): GroupSide => ({ records, amount, currency, first });

/** Everything that is known of a group, or `undefined`. */
export async function findGroup(db: TenantDatabase, id: string): Promise<GroupDetails | undefined> {
  const [group] = await db.query<Omit<GroupDetails, 'items' | 'decisions'>>(
    `SELECT g.id::text AS "groupId", g.status, g.rule, g.confidence, c.name AS context, r.job_id AS "madeBy", r.finished_at AS "madeAt",
            CASE WHEN amount_score IS NOT NULL THEN jsonb_build_object('amount', amount_score / 10000.0, 'currency', currency_score / 10000.0,
                 'date', date_score / 10000.0, 'reference', reference_score / 10000.0) END AS scores
       FROM match_groups g JOIN contexts c ON c.id = g.context_id JOIN match_runs r ON r.id = (g.id >> 26)::int WHERE g.id = $1`,
    [id],
  );
  if (!group) return undefined;
  const items = await db.query<GroupItem>(
    `SELECT CASE i.side WHEN 'L' THEN 'LEFT' ELSE 'RIGHT' END AS side, s.name AS source, t.external_id AS "externalId",
            trim_scale(t.amount)::text AS amount, trim_scale(i.amount)::text AS allocated, t.currency, t.occurred_at AS date, t.description
       FROM (${itemsOf('$1::bigint')}) AS i JOIN transactions t ON t.id = i.transaction_id JOIN sources s ON s.id = t.source_id
      ORDER BY i.side, t.id`,
    [id],
  );
  const decisions = await db.query<GroupDetails['decisions'][number]>(
    `SELECT status, reason, decided_by AS "decidedBy", decided_at AS "decidedAt", job_id AS "jobId"
       FROM match_decisions WHERE group_id = $1 ORDER BY decided_at`,
    [id],
  );
  return { ...group, items, decisions };
}
