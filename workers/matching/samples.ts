import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { exactAmount } from './derived-texts.ts';
import { compareTexts, textAt } from './engine/packed-text.ts';
import type { PackedColumns } from './engine/types.ts';
import { apartWords } from './exception-details.ts';
import { type Found, type FoundGroups, type FoundMembers, membersIn, OPEN_REASONS } from './found.ts';
import type { SideName } from './merged-rows.ts';
import type { OpenTransactions } from './read-open.ts';
import { ruleName } from './rule-name.ts';

type Samples = NonNullable<JobResult<'matching.run'>['samples']>;
type Transaction = Samples['open'][number]['transaction'];

const groupsOfRule = 5;
const membersOfSide = 5;
const openTransactions = 10;
/** A text of a record may be of any length; a report is no place for a novel. */
const longest = 200;

/** What a dry run shows, so that a person can judge its rules: the same of the same records, whatever the order in which they came. */
export function samplesOf(rules: readonly Rule[], { left, right }: OpenTransactions, found: Found): Samples {
  const sides = { left: left.columns, right: right.columns };
  const names = rules.map(ruleName);
  return {
    matches: matches(names, sides, found.groups),
    open: open(names, sides, found.open),
  };
}

function matches(
  rules: readonly string[],
  sides: Record<SideName, PackedColumns>,
  groups: FoundGroups,
): Samples['matches'] {
  const first = ({ start, rows }: FoundMembers, group: number) => rows[start[group] as number] as number;
  const compare = (a: number, b: number) =>
    (groups.confidence[a] as number) - (groups.confidence[b] as number) ||
    compareRows(sides.left, first(groups.left, a), first(groups.left, b)) ||
    compareRows(sides.right, first(groups.right, a), first(groups.right, b));
  const kept = rules.map(() => new First(groupsOfRule, compare));
  for (let group = 0; group < groups.size; group++) kept[groups.rule[group] as number]?.offer(group);
  const members = (side: SideName, group: number) => {
    const { start, rows } = groups[side];
    const [from, to] = [start[group] as number, start[group + 1] as number];
    return Array.from(rows.subarray(from, Math.min(to, from + membersOfSide)), (row) => transaction(sides[side], row));
  };
  return kept.flatMap(({ items }, rule) =>
    items.map((group) => ({
      rule: rules[rule] as string,
      confidence: groups.confidence[group] as number,
      left: members('left', group),
      right: members('right', group),
      items: membersIn(groups.left, group) + membersIn(groups.right, group),
    })),
  );
}

function open(rules: readonly string[], sides: Record<SideName, PackedColumns>, found: Found['open']): Samples['open'] {
  const kept = (['left', 'right'] as const).flatMap((side) => {
    const { rows } = found[side];
    const first = new First(
      openTransactions,
      (a, b) =>
        farness(found[side], a) - farness(found[side], b) ||
        compareRows(sides[side], rows[a] as number, rows[b] as number),
    );
    for (let entry = 0; entry < rows.length; entry++) first.offer(entry);
    return first.items.map((entry) => ({ side, entry }));
  });
  kept.sort((a, b) => farness(found[a.side], a.entry) - farness(found[b.side], b.entry));
  return kept.slice(0, openTransactions).map(({ side, entry }) => {
    const { rows, reason, missStart, missRow, missRule, missApart, findings } = found[side];
    const row = rows[entry] as number;
    const [from, to] = [missStart[entry] as number, missStart[entry + 1] as number];
    const others = sides[side === 'left' ? 'right' : 'left'];
    const finding = findings.get(row);
    return {
      side: side === 'left' ? 'LEFT' : 'RIGHT',
      transaction: transaction(sides[side], row),
      reason: OPEN_REASONS[reason[entry] as number] as string,
      ...(finding && { rule: rules[finding.rule] as string }),
      ...(finding && finding.gap !== null && { gap: formatAmount(finding.gap) }),
      nearMisses: Array.from({ length: to - from }, (_, i) => ({
        transaction: transaction(others, missRow[from + i] as number),
        rule: rules[missRule[from + i] as number] as string,
        apart: apartWords(missApart[from + i] as number),
      })),
    };
  });
}

/** How many things keep an open row from its nearest miss; one without any comes behind those whose parts don't add up. */
function farness({ rows, missStart, missApart, findings }: Found['open'][SideName], entry: number): number {
  const first = missStart[entry] as number;
  if (first < (missStart[entry + 1] as number)) return apartWords(missApart[first] as number).length;
  return findings.has(rows[entry] as number) ? 100 : 1000;
}

/** By `externalId`, then source. */
function compareRows({ externalId, source }: PackedColumns, a: number, b: number): number {
  const byId = compareTexts(externalId, a, externalId, b);
  if (byId !== 0 || source === undefined) return byId;
  const [sourceA, sourceB] = [source.names[source.codes[a] as number], source.names[source.codes[b] as number]];
  return sourceA === sourceB ? 0 : (sourceA as string) < (sourceB as string) ? -1 : 1;
}

function transaction({ externalId, source, amount, currency, timestamp }: PackedColumns, row: number): Transaction {
  return {
    source: source?.names[source.codes[row] as number] as string,
    externalId: textAt(externalId, row).slice(0, longest).toWellFormed(),
    amount: formatAmount(exactAmount(amount, row)),
    currency: currency.names[currency.codes[row] as number] as string,
    date: new Date(timestamp[row] as number).toISOString(),
  };
}

/** The first few of many, in their order. */
class First {
  readonly items: number[] = [];
  readonly #most: number;
  readonly #compare: (a: number, b: number) => number;

  constructor(most: number, compare: (a: number, b: number) => number) {
    this.#most = most;
    this.#compare = compare;
  }

  offer(item: number): void {
    const { items } = this;
    if (items.length === this.#most && this.#compare(item, items[items.length - 1] as number) >= 0) return;
    const at = items.findIndex((other) => this.#compare(item, other) < 0);
    items.splice(at < 0 ? items.length : at, 0, item);
    items.length = Math.min(items.length, this.#most);
  }
}
