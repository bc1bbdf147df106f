import type { MatchTenant } from './match-tenant.ts';

/** As if no run had been: whatever is loaded is open, and what is measured next pays for nothing that was before. */
export async function forgetEveryRun(tenant: MatchTenant): Promise<void> {
  const { database } = tenant;
  await database.query('TRUNCATE match_groups, match_items, exceptions');
  await database.query('UPDATE loads SET taken_by_run = NULL WHERE taken_by_run IS NOT NULL');
  await database.query('VACUUM (ANALYZE) loads');
  await tenant.checkpoint();
}

/** As if this run had not been, where those before it are to stay. They have left no exceptions. */
export async function forgetRun(tenant: MatchTenant, jobId: string): Promise<void> {
  const { database } = tenant;
  const { rows } = await database.query<{ id: number }>('SELECT id FROM match_runs WHERE job_id = $1', [jobId]);
  const run = (rows[0] as { id: number }).id;
  const ofRun = `>= ${run}::bigint << 26`;
  await database.query(`DELETE FROM match_items WHERE group_id ${ofRun}`);
  await database.query(`DELETE FROM match_groups WHERE id ${ofRun}`);
  await database.query('DELETE FROM exceptions');
  await database.query('UPDATE loads SET taken_by_run = NULL WHERE taken_by_run = $1', [run]);
  await database.query('VACUUM match_items, match_groups');
  await database.query('VACUUM (ANALYZE) loads, exceptions');
  await tenant.checkpoint();
}
