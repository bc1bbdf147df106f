import { MatcherError } from '@matcher/shared/errors.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { fieldsOf } from './fields.ts';
import { NONE } from './keys.ts';
import { type PartitionedRows, pairNearestFirst } from './nearest.ts';
import { Pace } from './pace.ts';
import { PairList } from './pair-list.ts';
import { pairOneByOne } from './pairwise.ts';
import { type PartitionedSide, partition } from './partitions.ts';
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
  limited: (leftRow: number) => void,
  pace: Pace,
): number {
  const { count, left, right } = partition(
    pairs.openLeft(terms.looksAt.left),
    pairs.openRight(terms.looksAt.right),
    terms.keys,
    () => pace.check(),
  );
  const take = {
    near: (leftRow: number, rightRow: number) => pairs.add(index, terms, leftRow, rightRow),
    equal: (leftRow: number, rightRow: number) => pairs.addEqual(index, terms, leftRow, rightRow),
  };
  let candidates = 0;
  for (let p = 0; p < count; p++) {
    if (left.count[p] !== 1 || right.count[p] !== 1) continue;
    // With unique references nearly every partition is this one pair.
    pace.step();
    const leftRow = left.first[p] as number;
    const rightRow = right.first[p] as number;
    candidates++;
    if (terms.keysSuffice) pairs.addEqual(index, terms, leftRow, rightRow);
    else if (satisfies(terms, sides.left, sides.right, leftRow, rightRow)) pairs.add(index, terms, leftRow, rightRow);
  }
  const rows = { left: manyToMany(left, left, right), right: manyToMany(right, left, right) };
  if (rows.left.rows.length === 0) return candidates;
  if (terms.pairwise) return candidates + pairOneByOne(sides, rows, terms, take.near, limited, pace);
  return candidates + pairNearestFirst(sides, rows, terms, take, pace);
}

/** A side's rows that share their partition with rows of the other side, where that is more than one pair. */
function manyToMany(own: PartitionedSide, left: PartitionedSide, right: PartitionedSide): PartitionedRows {
  const rows = new Int32Array(own.rows.length);
  const partition = new Int32Array(own.rows.length);
  let size = 0;
  for (let i = 0; i < own.rows.length; i++) {
    const p = own.partition[i] as number;
    if (p === NONE || right.count[p] === 0 || (left.count[p] === 1 && right.count[p] === 1)) continue;
    rows[size] = own.rows[i] as number;
    partition[size++] = p;
  }
  return { rows: rows.subarray(0, size), partition: partition.subarray(0, size) };
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
