import { MatcherError } from '@matcher/shared/errors.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { fieldsOf } from './fields.ts';
import { Forbidden } from './forbidden.ts';
import { lonePartners, manyToMany } from './lone-partners.ts';
import { pairNearestFirst } from './nearest.ts';
import { Pace } from './pace.ts';
import { PairList } from './pair-list.ts';
import { pairOneByOne } from './pairwise.ts';
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
 * @throws the reason of `input.signal` when that is aborted; MatcherError `RULE_ALLOCATES` for a rule with `groupBy`.
 */
export function matchOneToOne(input: MatchInput): MatchOutput {
  refuseAllocation(input.rules);
  const sides = sidesOf(input.left, input.right, fieldsOf(input.rules));
  const pairs = new PairList(sides.left, sides.right);
  const forbidden = new Forbidden(input.forbidden);
  const statistics: RuleStatistics[] = [];
  const limited = new Set<number>();
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
    const candidates = runRule(
      index,
      termsOf(rule, sides.left, sides.right),
      sides,
      pairs,
      forbidden,
      (row) => limited.add(row),
      pace,
    );
    statistics.push({
      rule: index,
      candidates,
      pairs: pairs.size - pairsBefore,
      ms: performance.now() - started,
    });
  }
  const limitedAndOpen = [...limited].filter((row) => pairs.isOpenLeft(row)).sort((a, b) => a - b);
  return { pairs: pairs.done(), limited: limitedAndOpen, rules: statistics };
}

/** Runs one rule over what is open; returns how many pairs were held against it. */
function runRule(
  index: number,
  terms: Terms,
  sides: { left: Side; right: Side },
  pairs: PairList,
  forbidden: Forbidden,
  limited: (leftRow: number) => void,
  pace: Pace,
): number {
  const partitions = partition(
    pairs.openLeft(terms.looksAt.left),
    pairs.openRight(terms.looksAt.right),
    terms.keys,
    () => pace.check(),
  );
  const { many, ...lone } = lonePartners(partitions);
  const { lefts, rights } = forbidden.without(lone.lefts, lone.rights);
  const take = {
    near: (leftRow: number, rightRow: number) => pairs.add(leftRow, rightRow),
    equal: (leftRows: Int32Array, rightRows: Int32Array) => pairs.addEqual(index, terms, leftRows, rightRows),
  };
  pace.check();
  let candidates = lefts.length;
  // With unique references nearly every partition is this one pair.
  if (terms.keysSuffice) take.equal(lefts, rights);
  else {
    for (let i = 0; i < lefts.length; i++) {
      pace.step();
      const [leftRow, rightRow] = [lefts[i] as number, rights[i] as number];
      if (satisfies(terms, sides.left, sides.right, leftRow, rightRow)) take.near(leftRow, rightRow);
    }
  }
  if (many !== undefined) {
    const rows = { left: manyToMany(partitions.left, many), right: manyToMany(partitions.right, many) };
    candidates += terms.pairwise
      ? pairOneByOne(sides, rows, terms, forbidden, take.near, limited, pace)
      : pairNearestFirst(sides, rows, terms, forbidden, take, pace);
  }
  pairs.settle(index, terms);
  return candidates;
}

/** A rule must not do less than it says: what sums up parts has no meaning between single records. */
function refuseAllocation(rules: readonly Rule[]): void {
  const rule = rules.find(({ config }) => config.groupBy !== undefined);
  if (rule === undefined) return;
  throw new MatcherError('RULE_ALLOCATES', `The rule ${rule.name ?? rule.priority} has groupBy, in a 1:1 context`, {
    hint: 'Take groupBy out, or make the context one of type 1:N or N:M.',
    remedy: 'permanent',
  });
}
