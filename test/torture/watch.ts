import { waitingMessages } from './check/read.ts';
import { ask } from './database.ts';
import type { Ledger } from './ledger.ts';
import type { Stage, StageTenant } from './stage.ts';
import { pause } from './strikes.ts';
import { contexts, isScheduled } from './work.ts';

/** Looks into the databases while the fleet works. */

const over = `state NOT IN ('RUNNING', 'WAITING')`;

/** @returns how many jobs have ended; `before` while a database does not say. */
export async function endedJobs(stage: Stage, before: number): Promise<number> {
  try {
    const counts = await inTurn(stage, `SELECT count(*)::int AS ended FROM jobs WHERE ${over}`);
    return counts.reduce((sum, [row]) => sum + (row?.ended ?? 0), 0);
  } catch {
    return before;
  }
}

/** So many looks in a row have to find a tenant at rest: between two of them a message can be with a worker. */
const looks = 2;

/** Waits until every confirmed job has ended, none is at work, every event has been sent, and no message is on its way. */
export async function atRest(stage: Stage, ledger: Ledger, signal: AbortSignal): Promise<void> {
  const left = new Map(stage.tenants.map((tenant) => [tenant, looks]));
  while (left.size > 0 && !signal.aborted) {
    for (const [tenant, more] of left) {
      if (signal.aborted) return;
      if (!(await isAtRest(stage, tenant, ledger))) left.set(tenant, looks);
      else if (more > 1) left.set(tenant, more - 1);
      else left.delete(tenant);
    }
    if (left.size > 0) await pause(500, signal);
  }
}

async function isAtRest(stage: Stage, tenant: StageTenant, ledger: Ledger): Promise<boolean> {
  try {
    const sql = `SELECT id, ${over} AS over, (SELECT count(*)::int FROM outbox) AS outbox FROM jobs`;
    const rows = await ask(stage, tenant, sql);
    const ended = new Set(rows.filter((row) => row.over).map(({ id }) => id));
    const confirmed = ledger.ofTenant(tenant.name).filter((entry) => entry.confirmed);
    if (!rows.every((row) => row.over && row.outbox === 0)) return false;
    if (!confirmed.every(({ job }) => ended.has(job.id))) return false;
    const { rabbitmq } = await stage.manager.connections(tenant.id);
    return (await waitingMessages(rabbitmq)) === 0;
  } catch {
    // The server is not there yet, or nobody has made the tables.
    return false;
  }
}

/** Waits until every scheduled context has had a firing since a moment (ms since 1970). Returns those that had none when the signal was aborted. */
export async function unfired(stage: Stage, since: number, signal: AbortSignal): Promise<StageTenant[]> {
  const scheduled = ({ name }: StageTenant) => contexts.filter((context) => isScheduled(name, context));
  let left = stage.tenants.filter((tenant) => scheduled(tenant).length > 0);
  while (left.length > 0 && !signal.aborted) {
    const silent: StageTenant[] = [];
    for (const tenant of left) {
      const sql = `SELECT DISTINCT split_part(id, ':', 2) FROM jobs WHERE starts_with(id, 'schedule:') AND created_at >= to_timestamp(${since / 1000})`;
      const fired = await ask(stage, tenant, sql).catch(() => []);
      if (fired.length < scheduled(tenant).length) silent.push(tenant);
    }
    left = silent;
    if (left.length > 0) await pause(1000, signal);
  }
  return left;
}

async function inTurn(stage: Stage, sql: string) {
  const answers = [];
  for (const tenant of stage.tenants) answers.push(await ask(stage, tenant, sql));
  return answers;
}
