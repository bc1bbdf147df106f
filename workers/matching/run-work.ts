import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import type { WorkControl } from '@matcher/shared/jobs/definition.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { lockContext } from './find-context.ts';
import { readForbidden } from './forbidden-pairs.ts';
import { type Found, OPEN_REASONS } from './found.ts';
import { matchColumns } from './match-columns.ts';
import { type OpenTransactions, readOpen } from './read-open.ts';
import { ruleName } from './rule-name.ts';
import { RunWatch } from './run-watch.ts';
import { samplesOf } from './samples.ts';
import { confirmedFrom, writeRun } from './write-run.ts';

/** What a run has to know. */
export interface RunTask {
  readonly jobId: string;
  readonly context: string;
  readonly mode: 'COMMIT' | 'DRY_RUN';
}

type Result = JobResult<'matching.run'>;

/**
 * Matches what is open in a context: reading, matching and writing are one transaction under the context's lock, so that a run is visible completely or not at
 * all. A dry run writes its report and nothing else. Keeps its thread busy: what else has to go on there stands still meanwhile.
 *
 * @throws the reason of the cancellation; MatcherError as `lockContext` says.
 */
export default async function workMatchingRun(
  tx: Transaction,
  { jobId, context: name, mode }: RunTask,
  control: Pick<WorkControl, 'cancellation' | 'progress'>,
): Promise<Result> {
  const watch = new RunWatch(control);
  const { id: contextId, definition } = await lockContext(tx, name);
  const rules = definition.rules.toSorted((a, b) => a.priority - b.priority);
  const started = performance.now();
  const open = await readOpen(tx, contextId, rules, watch);
  const forbidden = await readForbidden(tx, contextId, open);
  const read = performance.now();
  const { found, matching, explaining } = matchColumns(definition.type, open, { rules, forbidden }, watch);
  const matched = performance.now();
  const [{ id }] = (await tx.query<{ id: number }>(
    `INSERT INTO match_runs (job_id, context_id, mode, statistics) VALUES ($1, $2, $3, '{}') RETURNING id`,
    [jobId, contextId, mode],
  )) as [{ id: number }];
  if (mode === 'COMMIT') await writeRun(tx, { id, contextId, rules }, open, found, watch);
  const written = performance.now();
  const result: Result = {
    ...report({ context: name, mode }, rules, open, found),
    milliseconds: {
      reading: Math.round(read - started),
      matching: Math.round(matching),
      explaining: Math.round(explaining),
      writing: Math.round(written - matched),
    },
    memory: { columns: open.left.bytes + open.right.bytes, peak: watch.peak },
    ...(mode === 'DRY_RUN' && { samples: samplesOf(rules, open, found) }),
  };
  await tx.query('UPDATE match_runs SET statistics = $2 WHERE id = $1', [id, JSON.stringify(result)]);
  return result;
}

function report(
  run: Pick<Result, 'context' | 'mode'>,
  rules: readonly Rule[],
  { left, right }: OpenTransactions,
  { groups, open, rules: ran }: Found,
): Omit<Result, 'milliseconds' | 'memory'> {
  const confirmed = new Array<number>(rules.length).fill(0);
  for (let group = 0; group < groups.size; group++) {
    if ((groups.confidence[group] as number) >= confirmedFrom) (confirmed[groups.rule[group] as number] as number)++;
  }
  const exceptions = countReasons(open);
  return {
    ...run,
    left: left.size,
    right: right.size,
    matched: groups.size,
    rules: ran.map(({ rule: index, candidates, pairs: matched, ms }) => {
      const rule = rules[index] as Rule;
      const sure = confirmed[index] as number;
      return {
        rule: ruleName(rule),
        type: rule.type,
        matched,
        confirmed: sure,
        proposed: matched - sure,
        candidates,
        milliseconds: Math.round(ms),
      };
    }),
    open: { left: open.left.rows.length, right: open.right.rows.length },
    exceptions,
    limited: exceptions.SEARCH_LIMIT ?? 0,
  };
}

/** Whatever stays open has one exception after a run, and nothing else in the context has one. */
function countReasons({ left, right }: Found['open']): Record<string, number> {
  const counts = new Array<number>(OPEN_REASONS.length).fill(0);
  for (const { reason } of [left, right]) for (const index of reason) (counts[index] as number)++;
  const counted = OPEN_REASONS.map((reason, index) => [reason, counts[index] as number] as const);
  return Object.fromEntries(counted.filter(([, count]) => count > 0).sort(([a], [b]) => (a < b ? -1 : 1)));
}
