import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import type { Transaction } from '@matcher/shared/postgres/tenant-database.ts';
import { matchInThread, type PlainColumns } from './engine-pool.ts';
import { lockContext } from './find-context.ts';
import type { Found } from './found.ts';
import { type OpenSide, type OpenTransactions, readOpen } from './open-transactions.ts';
import { confirmedFrom, ruleName, writeRun } from './write-run.ts';

/**
 * `matching.run`: matches what is open in a context. Reading, matching and writing are one transaction under the context's lock, so that a run is visible
 * completely or not at all. A dry run writes its report and nothing else.
 */
export const matchingRun: JobDefinition<'matching.run'> = {
  type: 'matching.run',
  async run(job, scope) {
    const { mode } = job.body;
    return async (tx) => {
      const context = await lockContext(tx, job.body.context);
      const rules = context.definition.rules.toSorted((a, b) => a.priority - b.priority);
      job.progress({ stage: 'reading', done: 0, total: null });
      const open = await readOpen(tx, context.id, rules);
      const { size: left } = open.left;
      const { size: right } = open.right;
      job.progress({ stage: 'matching', done: 0, total: left + right });
      const { type } = context.definition;
      const found = await matchInThread({ type, left: plain(open.left), right: plain(open.right), rules }, job.signal);
      job.progress({ stage: 'writing', done: 0, total: found.groups.size });
      const [{ id }] = (await tx.query<{ id: number }>(
        `INSERT INTO match_runs (job_id, context_id, mode, statistics) VALUES ($1, $2, $3, '{}') RETURNING id`,
        [job.id, context.id, mode],
      )) as [{ id: number }];
      if (mode === 'COMMIT') await writeRun(tx, { id, contextId: context.id, rules }, open, found);
      const result = await report(tx, context.id, { context: job.body.context, mode }, rules, open, found);
      await tx.query('UPDATE match_runs SET statistics = $2 WHERE id = $1', [id, JSON.stringify(result)]);
      scope.log.info({ left, right, matched: result.matched, mode }, 'matched');
      return result;
    };
  },
};

/** What the engine needs to know of a side: not which transactions its rows are. */
function plain({ ids: _, ...columns }: OpenSide): PlainColumns {
  return columns;
}

async function report(
  tx: Transaction,
  contextId: number,
  run: Pick<JobResult<'matching.run'>, 'context' | 'mode'>,
  rules: readonly Rule[],
  open: OpenTransactions,
  { groups, rules: ran }: Found,
): Promise<JobResult<'matching.run'>> {
  const confirmed = new Array<number>(rules.length).fill(0);
  for (let i = 0; i < groups.size; i++) {
    if ((groups.confidence[i] as number) >= confirmedFrom) (confirmed[groups.rule[i] as number] as number)++;
  }
  const exceptions = await tx.query<{ reason: string; count: number }>(
    'SELECT reason, count(*)::int AS count FROM exceptions WHERE context_id = $1 GROUP BY reason ORDER BY reason',
    [contextId],
  );
  return {
    ...run,
    left: open.left.size,
    right: open.right.size,
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
    open: {
      left: open.left.size - groups.left.rows.length,
      right: open.right.size - groups.right.rows.length,
    },
    exceptions: Object.fromEntries(exceptions.map(({ reason, count }) => [reason, count])),
  };
}
