import { checkMatches, checkTransactions } from './data.ts';
import { checkExports, checkObjects } from './exports.ts';
import { firedJobs } from './firings.ts';
import { checkContexts, checkEvents, checkRecords, checkRest } from './jobs.ts';
import type { Bucket, ExpectedTenant, Finding, TenantState } from './state.ts';

/**
 * Compares what was confirmed to publishers with what is in the databases, the bucket and the queues. It shares no code with the workers: it
 * knows the tables and the contract, and reads both in its own way.
 */

export interface CheckedTenant {
  expected: ExpectedTenant;
  state: TenantState;
}

export interface Verdict {
  findings: Finding[];
  /** Distinct events, and those that came again with the same id. */
  events: number;
  eventsAgain: number;
  /** Runs that were begun by a schedule. */
  fired: number;
  /** Objects of attempts that did not come to their end. */
  leftovers: number;
}

/** @param names finds the names of all tenants in a text. */
export async function check(tenants: readonly CheckedTenant[], bucket: Bucket, names: RegExp): Promise<Verdict> {
  const [objectFindings, leftovers] = checkObjects(tenants, bucket);
  const verdict: Verdict = { findings: objectFindings, events: 0, eventsAgain: 0, fired: 0, leftovers };
  for (const { expected: published, state } of tenants) {
    const [fired, firingFindings] = firedJobs(published, state);
    const expected = { ...published, jobs: [...published.jobs, ...fired] };
    verdict.fired += fired.length;
    const foreign = (text: string) => text.match(names)?.find((name) => name !== expected.name);
    const [eventFindings, { events, again }] = checkEvents(expected, state);
    verdict.events += events;
    verdict.eventsAgain += again;
    verdict.findings.push(
      ...firingFindings,
      ...checkRecords(expected, state),
      ...checkContexts(expected, state),
      ...eventFindings,
      ...checkRest(expected, state),
      ...checkTransactions(expected, state),
      ...checkMatches(expected, state),
      ...(await checkExports(expected, state, bucket, foreign)),
      ...checkOwner(expected, state, foreign),
    );
  }
  return verdict;
}

/** Nothing in the tables or among the events is another tenant's. */
function checkOwner(
  { name, id }: ExpectedTenant,
  state: TenantState,
  foreign: (text: string) => string | undefined,
): Finding[] {
  const findings: Finding[] = [];
  if (state.owners.length !== 1 || state.owners[0] !== id) {
    findings.push({ tenant: name, what: `the database says that it is of ${state.owners.join(' and ') || 'nobody'}` });
  }
  for (const [table, rows] of Object.entries(state)) {
    if (!Array.isArray(rows)) continue;
    for (const row of rows) {
      const other = foreign(JSON.stringify(row));
      if (other !== undefined)
        findings.push({ tenant: name, what: `a row among its ${table} is of ${other}: ${brief(row)}` });
    }
  }
  return findings;
}

const brief = (row: unknown) => JSON.stringify(row).slice(0, 200);
