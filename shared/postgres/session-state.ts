import type { PoolClient } from 'pg';
import { forgetPrepared } from './prepared.ts';

/**
 * What a statement leaves in its session (settings, role, temporary tables, advisory locks, prepared statements, cursors, subscriptions) must not be
 * found by whoever gets the connection next.
 */

/** How long (ms) a reset may take: a connection that needs longer is cheaper to replace. */
const resetTimeout = 5000;

/**
 * Takes everything out of the session that a statement can have left in it, an open transaction included.
 *
 * @returns false when that failed: the connection must not be used again.
 */
export async function resetSession(client: PoolClient): Promise<boolean> {
  try {
    if (client.getTransactionStatus() !== 'I') await client.query(limited('ROLLBACK'));
    // Back to what the connection was started with: the startup parameters are the defaults that this returns to.
    await client.query(limited('DISCARD ALL'));
    forgetPrepared(client);
    return true;
  } catch {
    return false;
  }
}

function limited(text: string) {
  return { text, query_timeout: resetTimeout };
}

/** Statements repeat; what an endless number of different ones costs is bounded. Looked into with every query, which makes a plain map worth its while. */
const known = new Map<string, boolean>();
const mostKnown = 1000;
const longest = 10_000;

/**
 * Whether a single statement certainly leaves nothing in its session, so that no reset has to follow it. A statement of which that can't be seen
 * is taken for one that does: it may do no more than read rows and write them, and call functions that are known. What triggers, views, operators
 * and column defaults call is not seen.
 */
export function leavesSessionAlone(sql: string): boolean {
  if (sql.length > longest) return false;
  let answer = known.get(sql);
  if (answer === undefined) {
    answer = rowsOnly.test(sql) && !unclear.test(sql) && calls(sql).every((name) => harmless.has(name));
    if (known.size >= mostKnown) known.clear();
    known.set(sql, answer);
  }
  return answer;
}

const rowsOnly = /^\s*(select|insert|update|delete|with|values)\b/i;

/** Several statements, comments, quoted names of functions, and temporary tables, which SELECT makes, too. */
const unclear = /;|--|\/\*|"\s*\(|\b(temp|temporary|pg_temp\w*)\b/i;

/** A setting that ends with its transaction. */
export const unflushed = `set_config('synchronous_commit', 'off', true)`;

/** What stands before a parenthesis, in lower case and with its schema, the columns of an INSERT and of an alias aside. */
function calls(sql: string): string[] {
  const text = sql.replaceAll(unflushed, '').replace(/\b(into\s+[\w.]+(\s+as\s+\w+)?|as\s+\w+)\s*\(/gi, '');
  return Array.from(text.matchAll(/([\p{L}_][\p{L}\w$.]*)\s*\(/gu), ([, name]) => (name as string).toLowerCase());
}

const harmless = new Set(
  `all and any array as by case cast conflict distinct else end except exists filter from group in intersect interval join lateral materialized not on
   or order over partition row select set some then union using values when where
   abs array_agg array_length array_position bool_and bool_or ceil clock_timestamp coalesce concat count current_database current_schema date_trunc
   extract floor format gen_random_uuid greatest hashtextextended json_agg json_build_object jsonb_agg jsonb_build_object least length lower
   make_interval max md5 min mod now nullif pg_advisory_xact_lock pg_backend_pid pg_cancel_backend pg_column_size pg_try_advisory_xact_lock position
   replace round row_number scale statement_timestamp string_agg substring sum timezone to_char to_json to_jsonb to_timestamp
   trim trim_scale unnest upper generate_series`.match(/\w+/g),
);
