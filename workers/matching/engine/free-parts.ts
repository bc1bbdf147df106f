import type { AllocationTerms } from './allocation-terms.ts';
import type { GroupList } from './group-list.ts';
import { NONE } from './hash-groups.ts';
import { IndexedHeap } from './heap.ts';
import type { Pace } from './pace.ts';
import { partition } from './partitions.ts';
import { findSubset } from './subset-search.ts';
import { similarityOf } from './terms.ts';

/** So many parts within a whole's keys and dates are searched; a whole with more is reported. */
export const MOST_PARTS = 1000;

interface Choice {
  readonly parts: readonly number[];
  readonly days: number;
}

/**
 * Allocates wholes to parts that nothing but the rule's keys and dates binds to them. Each whole knows the best parts that are open;
 * of all wholes that with the fewest parts is taken first, then with the fewest days, then in the order of the wholes, until none
 * has any. So a whole that is one part is never left over because another took that part among several.
 *
 * @returns how many parts were held against a whole.
 */
export function allocateFreely(terms: AllocationTerms, groups: GroupList, pace: Pace): number {
  const { rule, wholeSide, partSide, open, amountOf } = terms;
  const taken = groups.taken[partSide];
  const wholes = open[wholeSide];
  const partsOf = candidatesOf(terms, taken, pace);
  const choices = new Map<number, Choice>();
  const limited = new Set<number>();
  /** Whose parts were found and are less sure than a match has to be. */
  const unsure = new Set<number>();
  let candidates = 0;
  const heap = new IndexedHeap(wholes.length, (a, b) => {
    const [one, other] = [choices.get(a) as Choice, choices.get(b) as Choice];
    return (one.parts.length - other.parts.length || one.days - other.days || a - b) < 0;
  });
  const choose = (at: number): boolean => {
    pace.step();
    const whole = wholes[at] as number;
    const parts = partsOf(at);
    candidates += parts.length;
    if (parts.length === 0) return false;
    const target = amountOf(wholeSide, whole);
    const found =
      parts.length > MOST_PARTS ? 'limit' : findSubset(parts, target, terms.toleranceOf(target), () => pace.step());
    if (typeof found === 'object') {
      choices.set(at, { parts: found.parts.map((part) => parts[part]?.row as number), days: found.days });
      return true;
    }
    if (found === 'limit') limited.add(at);
    return false;
  };
  for (let at = 0; at < wholes.length; at++) if (choose(at)) heap.update(at);
  for (let at = heap.first; at !== NONE; at = heap.first) {
    const { parts } = choices.get(at) as Choice;
    if (parts.some((row) => taken[row] === 1)) {
      if (choose(at)) heap.update(at);
      else heap.remove(at);
      continue;
    }
    heap.remove(at);
    const { byRow } = terms.sides[partSide].order;
    const whole = wholes[at] as number;
    const ordered = [...parts].sort((a, b) => (byRow[a] as number) - (byRow[b] as number));
    const isTaken = groups.add(
      wholeSide,
      {
        rule,
        wholes: [whole],
        parts: ordered,
        wholeSum: amountOf(wholeSide, whole),
        partSum: parts.reduce((sum, row) => sum + amountOf(partSide, row), 0n),
        isPartial: false,
        dateWindow: terms.dateWindow,
        referencePart: terms.referencePart,
      },
      amountOf,
    );
    if (!isTaken) unsure.add(at);
  }
  for (let at = 0; at < wholes.length; at++) {
    const whole = wholes[at] as number;
    if (groups.taken[wholeSide][whole] === 1 || unsure.has(at)) continue;
    const parts = partsOf(at);
    const gap = amountOf(wholeSide, whole) - parts.reduce((sum, { amount }) => sum + amount, 0n);
    if (limited.has(at)) groups.note(wholeSide, whole, { reason: 'SEARCH_LIMIT', rule, gap });
    else if (parts.length > 0) groups.note(wholeSide, whole, { reason: 'SPLIT_INCOMPLETE', rule, gap });
  }
  return candidates;
}

interface Candidate {
  readonly row: number;
  readonly amount: bigint;
  readonly days: number;
  readonly rank: number;
}

/** The open parts of each whole (one more than `MOST_PARTS` of them at most), by its place among the wholes: equal keys, within the rule's days, similar enough. */
function candidatesOf(terms: AllocationTerms, taken: Uint8Array, pace: Pace): (at: number) => Candidate[] {
  const { sides, open, wholeSide, partSide } = terms;
  const found = partition(open.left, open.right, terms.keys, () => pace.check());
  const [wholeDay, partDay] = [sides[wholeSide].day, sides[partSide].day];
  const byPartition = new Map<number, number[]>();
  for (const row of open[partSide]) {
    const p = found[partSide].partition[row] as number;
    const rows = byPartition.get(p);
    if (rows) rows.push(row);
    else byPartition.set(p, [row]);
  }
  for (const rows of byPartition.values()) rows.sort((a, b) => (partDay[a] as number) - (partDay[b] as number));
  // Seen from a whole; the rule's window is seen from the left.
  const { earlier, later } = terms.days;
  const windows =
    wholeSide === 'left'
      ? [[-earlier.to, -earlier.from] as const, [later.from, later.to] as const]
      : [[-later.to, -later.from] as const, [earlier.from, earlier.to] as const];
  return (at) => {
    const whole = open[wholeSide][at] as number;
    const p = found[wholeSide].partition[whole] as number;
    const rows = p === NONE ? [] : (byPartition.get(p) ?? []);
    const day = wholeDay[whole] as number;
    const forbidden = terms.forbiddenWith([whole]);
    const parts: Candidate[] = [];
    for (const [from, to] of windows) {
      for (let i = firstFrom(rows, partDay, day + from); i < rows.length; i++) {
        const row = rows[i] as number;
        if ((partDay[row] as number) > day + to || parts.length > MOST_PARTS) break;
        if (taken[row] === 1 || forbidden.has(row)) continue;
        const [left, right] = wholeSide === 'left' ? [whole, row] : [row, whole];
        if (similarityOf(terms.pair, left, right) === undefined) continue;
        parts.push({
          row,
          amount: terms.amountOf(partSide, row),
          days: Math.abs((partDay[row] as number) - day),
          rank: sides[partSide].order.byRow[row] as number,
        });
      }
    }
    return parts;
  };
}

function firstFrom(rows: readonly number[], day: Int32Array, wanted: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((day[rows[middle] as number] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
