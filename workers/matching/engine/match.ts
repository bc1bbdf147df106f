import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { pairNearestFirst } from './nearest.ts';
import { Pace } from './pace.ts';
import { PairList } from './pair-list.ts';
import { partition } from './partitions.ts';
import { type Side, sidesOf } from './side.ts';
import { satisfies, type Terms, termsOf } from './terms.ts';
import type { MatchInput, MatchOutput, RuleStatistics } from './types.ts';

/**
 * Matches records one to one. Rules run in ascending priority, each on what earlier ones left open; within a rule pairs are
 * taken nearest first (see `pairNearestFirst`), so that the answer is unique: it depends on the records and the rules
 * and not on the order of the rows. When a rule is done, no two open records still satisfy it.
 *
 * Pure: no input or output beyond its argument and result, nothing is changed, nothing yields.
 *
 * @throws the reason of `input.signal` when that is aborted.
 */
export function matchOneToOne(input: MatchInput): MatchOutput {
  const sides = sidesOf(input.left, input.right, comparedFields(input.rules));
  const pairs = new PairList(sides.left, sides.right);
  const statistics: RuleStatistics[] = [];
  const order = input.rules.map((rule, index) => ({ rule, index })).sort((a, b) => a.rule.priority - b.rule.priority);
  let running = order[0]?.index ?? 0;
  const pace = new Pace(input.signal, input.onProgress, () => ({
    rule: running,
    rulesDone: statistics.length,
    pairs: pairs.size,
  }));
  for (const { rule, index } of order) {
    running = index;
    pace.check();
    const started = performance.now();
    const pairsBefore = pairs.size;
    const candidates = runRule(index, termsOf(rule, sides.left, sides.right), sides, pairs, pace);
    statistics.push({
      rule: index,
      candidates,
      pairs: pairs.size - pairsBefore,
      ms: performance.now() - started,
    });
  }
  return { pairs: pairs.done(), rules: statistics };
}

/** Runs one rule over what is open; returns how many pairs were held against it. */
function runRule(index: number, terms: Terms, sides: { left: Side; right: Side }, pairs: PairList, pace: Pace): number {
  const { count, left, right } = partition(pairs.openLeft(), pairs.openRight(), terms.keys, () => pace.check());
  let candidates = 0;
  const take = (leftRow: number, rightRow: number) => pairs.add(index, terms, leftRow, rightRow);
  for (let p = 0; p < count; p++) {
    const leftRows = left.rows.subarray(left.start[p], left.start[p + 1]);
    const rightRows = right.rows.subarray(right.start[p], right.start[p + 1]);
    if (leftRows.length === 0 || rightRows.length === 0) continue;
    pace.step();
    if (leftRows.length === 1 && rightRows.length === 1) {
      // With unique references nearly every partition is this one pair.
      const [leftRow, rightRow] = [leftRows[0] as number, rightRows[0] as number];
      candidates++;
      if (satisfies(terms, sides.left, sides.right, leftRow, rightRow)) take(leftRow, rightRow);
    } else {
      candidates += pairNearestFirst(sides, { left: leftRows, right: rightRows }, terms, take, pace);
    }
  }
  return candidates;
}

/** Every field that a rule compares, once each. */
function comparedFields(rules: readonly Rule[]): string[] {
  const names = rules.flatMap(({ type, config }) => [
    ...config.matchFields,
    ...(type !== 'DATE_LAG' && config.matchReference ? [config.referenceField] : []),
  ]);
  return [...new Set(names)].sort();
}
