import { parse } from 'csv-parse/sync';
import type { TestTenant } from './fleet.ts';

/** What has become of the groups of a tenant's context `bank`, as persons see it. */

export async function groupIdsOf(tenant: TestTenant): Promise<[string, string]> {
  const rows = await tenant.query('SELECT id::text FROM match_groups ORDER BY id');
  return rows.map(({ id }) => id) as [string, string];
}

export async function reportOf(tenant: TestTenant, name: 'MATCHED' | 'UNMATCHED' | 'EXCEPTIONS') {
  const { url } = await tenant.done('export.run', { version: 1, context: 'bank', report: name });
  return parse(await (await fetch(url)).text(), { columns: true }) as Record<string, string>[];
}

export const externalIds = (rows: Record<string, string>[]) => rows.map(({ external_id }) => external_id).sort();

/** What a run must not match with each other, of what is open in the context. */
export async function barredOf(tenant: TestTenant): Promise<string[]> {
  const rows = await tenant.query(
    `SELECT lt.external_id AS left, rt.external_id AS right
       FROM exceptions e
       JOIN match_items_history l ON l.transaction_id = e.transaction_id AND l.side = 'L' AND l.barred
       JOIN match_items_history r ON r.group_id = l.group_id AND r.side = 'R'
       JOIN exceptions o ON o.transaction_id = r.transaction_id
       JOIN transactions lt ON lt.id = l.transaction_id JOIN transactions rt ON rt.id = r.transaction_id
      WHERE e.context_id = (SELECT id FROM contexts WHERE name = 'bank') ORDER BY 1, 2`,
  );
  return rows.map(({ left, right }) => `${left} ${right}`);
}
