import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import type { AllocationTerms } from './allocation-terms.ts';
import type { GroupList } from './group-list.ts';
import { NONE } from './hash-groups.ts';
import { fieldKey } from './keys.ts';
import type { Pace } from './pace.ts';
import { textAt } from './packed-text.ts';
import { partition } from './partitions.ts';
import { findSubset } from './subset-search.ts';

type GroupBy = NonNullable<Rule['config']['groupBy']>;
type Rows = readonly number[];

/** Allocates what `groupBy` binds together. @returns how many parts were held against a whole. */
export function allocateGroups(
  terms: AllocationTerms,
  groupBy: GroupBy,
  groups: GroupList,
  manyWholes: boolean,
  pace: Pace,
): number {
  let candidates = 0;
  const settle = (wholes: Rows, parts: Rows) => {
    pace.step();
    candidates += parts.length;
    const forbidden = terms.forbiddenWith(wholes);
    const open = parts.filter((row) => groups.taken[terms.partSide][row] === 0 && !forbidden.has(row));
    settleGroup(terms, groups, wholes, open, () => pace.step());
  };
  for (const { wholes, parts } of Array.isArray(groupBy)
    ? boundByFields(terms, groupBy, pace)
    : boundByList(terms, groupBy, pace)) {
    if (manyWholes) settle(wholes, parts);
    else for (const whole of wholes) settle([whole], parts);
  }
  return candidates;
}

/** Takes a group when its sums agree, or those of its parts that do; notes what is missing otherwise. */
function settleGroup(terms: AllocationTerms, groups: GroupList, wholes: Rows, parts: Rows, step: () => void): void {
  const { rule, wholeSide, partSide, amountOf, sides } = terms;
  if (parts.length === 0) return;
  const sumOf = (side: 'left' | 'right', rows: Rows) => rows.reduce((sum, row) => sum + amountOf(side, row), 0n);
  const [target, total] = [sumOf(wholeSide, wholes), sumOf(partSide, parts)];
  const tolerance = terms.toleranceOf(target);
  const add = (taken: Rows, isPartial: boolean) =>
    groups.add(
      wholeSide,
      {
        rule,
        wholes,
        parts: taken,
        wholeSum: target,
        partSum: sumOf(partSide, taken),
        isPartial,
        dateWindow: terms.dateWindow,
        referencePart: terms.referencePart,
      },
      amountOf,
    );
  const gap = target - total;
  if (gap <= tolerance && -gap <= tolerance) {
    if (add(parts, false)) return;
  }
  const day = Math.max(...wholes.map((row) => sides[wholeSide].day[row] as number));
  const found = findSubset(
    parts.map((row) => ({
      amount: amountOf(partSide, row),
      days: Math.abs((sides[partSide].day[row] as number) - day),
      rank: sides[partSide].order.byRow[row] as number,
    })),
    target,
    tolerance,
    step,
  );
  if (typeof found === 'object') {
    if (
      add(
        inOrder(
          found.parts.map((part) => parts[part] as number),
          parts,
        ),
        false,
      )
    )
      return;
  } else if (terms.allowPartial && wholes.length === 1 && fallsShort(total, target)) {
    if (add(parts, true)) return;
  }
  const reason = found === 'limit' ? 'SEARCH_LIMIT' : 'SPLIT_INCOMPLETE';
  for (const row of wholes) groups.note(wholeSide, row, { reason, rule, gap });
  for (const row of parts) groups.note(partSide, row, { reason, rule, gap });
}

function fallsShort(total: bigint, target: bigint): boolean {
  return target > 0n ? total > 0n && total < target : total < 0n && total > target;
}

function inOrder(rows: Rows, order: Rows): Rows {
  const taken = new Set(rows);
  return order.filter((row) => taken.has(row));
}

interface Bound {
  readonly wholes: number[];
  readonly parts: number[];
}

/** Rows whose fields are equal, in the order of their first whole. */
function boundByFields(terms: AllocationTerms, fields: readonly string[], pace: Pace): Bound[] {
  const { sides, open, wholeSide } = terms;
  const keys = [...terms.keys, ...fields.map((name) => fieldKey(sides.left, sides.right, name))];
  const found = partition(open.left, open.right, keys, () => pace.check());
  const groups = new Map<number, Bound>();
  for (const side of [wholeSide, terms.partSide] as const) {
    const { rows, partition: own } = found[side];
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      const p = own[row] as number;
      if (p === NONE || found.left.count[p] === 0 || found.right.count[p] === 0) continue;
      const group = groups.get(p) ?? { wholes: [], parts: [] };
      groups.set(p, group);
      group[side === wholeSide ? 'wholes' : 'parts'].push(row);
    }
  }
  return [...groups.values()];
}

/** Each whole with the parts that its list names, or whose lists name it; in the order of the wholes. */
function boundByList(terms: AllocationTerms, groupBy: Exclude<GroupBy, string[]>, pace: Pace): Bound[] {
  const { sides, open, wholeSide, partSide } = terms;
  const listing = groupBy.side === 'LEFT' ? 'left' : 'right';
  const named = listing === 'left' ? 'right' : 'left';
  const alike = partition(open.left, open.right, terms.keys, () => pace.check());
  const [listingPartition, namedPartition] = [alike[listing].partition, alike[named].partition];
  const byName = new Map<string, number[]>();
  const names = sides[named].text(groupBy.names);
  for (const row of open[named]) {
    const name = textAt(names, row).trim();
    if (name === '') continue;
    const known = byName.get(name);
    if (known) known.push(row);
    else byName.set(name, [row]);
  }
  const partsOf = new Map<number, Set<number>>();
  const lists = sides[listing].text(groupBy.listField);
  for (const row of open[listing]) {
    pace.step();
    for (const entry of textAt(lists, row).split(groupBy.separator)) {
      for (const other of byName.get(entry.trim()) ?? []) {
        const p = listingPartition[row];
        if (p === NONE || p !== namedPartition[other]) continue;
        const [whole, part] = listing === wholeSide ? [row, other] : [other, row];
        const parts = partsOf.get(whole);
        if (parts) parts.add(part);
        else partsOf.set(whole, new Set([part]));
      }
    }
  }
  const { byRow } = sides[partSide].order;
  const ordered = (rows: Iterable<number>) => [...rows].sort((a, b) => (byRow[a] as number) - (byRow[b] as number));
  return Array.from(open[wholeSide])
    .filter((whole) => partsOf.has(whole))
    .map((whole) => ({ wholes: [whole], parts: ordered(partsOf.get(whole) ?? []) }));
}
