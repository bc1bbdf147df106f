import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { allocationTermsOf } from './allocation-terms.ts';
import { allocateGroups } from './bound-parts.ts';
import { fieldsOf } from './fields.ts';
import { Forbidden } from './forbidden.ts';
import { allocateFreely } from './free-parts.ts';
import { GroupList } from './group-list.ts';
import { Pace } from './pace.ts';
import { type Side, sidesOf } from './side.ts';
import type { AllocationOutput, MatchInput, RuleStatistics } from './types.ts';

/**
 * Matches wholes with their parts (`1:N`, `N:1`), and many with many (`N:M`). Rules run in ascending priority, each on what earlier ones
 * left open. With `groupBy`, what is bound together is one group when both sides' sums agree; where they don't, the parts that
 * do are looked for. Without, each whole's parts are looked for among those within the rule's keys and dates. The answer depends
 * on the records and the rules and not on the order of the rows.
 *
 * @param manyWholes whether all wholes that `groupBy` binds together are one group (`N:M`), or each is its own (`1:N`).
 * @throws the reason of `input.signal` when that is aborted.
 */
export function allocate(input: MatchInput, manyWholes: boolean): AllocationOutput {
  const sides = sidesOf(input.left, input.right, fieldsOf(input.rules));
  const groups = new GroupList(sides);
  const forbidden = new Forbidden(input.forbidden);
  const statistics: RuleStatistics[] = [];
  const order = input.rules.map((rule, index) => ({ rule, index })).sort((a, b) => a.rule.priority - b.rule.priority);
  let running = order[0]?.index ?? 0;
  const pace = new Pace(input.signal, input.onProgress, () => ({
    rule: running,
    rulesDone: statistics.length,
    pairs: groups.size,
  }));
  for (const { rule, index } of order) {
    running = index;
    pace.check();
    const started = performance.now();
    const before = groups.size;
    const candidates = runRule(index, rule, sides, groups, forbidden, manyWholes, pace);
    statistics.push({ rule: index, candidates, pairs: groups.size - before, ms: performance.now() - started });
  }
  return { groups: groups.done(), findings: groups.findings, rules: statistics };
}

function runRule(
  index: number,
  rule: Rule,
  sides: { left: Side; right: Side },
  groups: GroupList,
  forbidden: Forbidden,
  manyWholes: boolean,
  pace: Pace,
): number {
  const terms = allocationTermsOf(index, rule, sides, groups, forbidden);
  return rule.config.groupBy === undefined
    ? allocateFreely(terms, groups, pace)
    : allocateGroups(terms, rule.config.groupBy, groups, manyWholes, pace);
}
