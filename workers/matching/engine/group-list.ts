import { amountPart, confidenceOf, datePart, LEAST_CONFIDENCE, type Parts, WHOLE } from './confidence.ts';
import type { Side } from './side.ts';
import type { Finding, MatchedGroups } from './types.ts';

/** Records on both sides that belong together. */
export interface Group {
  readonly rule: number;
  readonly wholes: readonly number[];
  readonly parts: readonly number[];
  readonly wholeSum: bigint;
  readonly partSum: bigint;
  /** Whether the whole gets only what its parts come to. */
  readonly isPartial: boolean;
  /** See `Terms`. */
  readonly dateWindow: number | null;
  readonly referencePart: number;
}

/** The groups of a run as they are found, which rows are still open, and why some stayed so. */
export class GroupList {
  readonly #sides: { left: Side; right: Side };
  readonly taken: { readonly left: Uint8Array; readonly right: Uint8Array };
  readonly findings = { left: new Map<number, Finding>(), right: new Map<number, Finding>() };
  readonly #groups: { rule: number; left: Member[]; right: Member[]; confidence: number; parts: Parts }[] = [];

  constructor(sides: { left: Side; right: Side }) {
    this.#sides = sides;
    this.taken = { left: new Uint8Array(sides.left.size), right: new Uint8Array(sides.right.size) };
  }

  get size(): number {
    return this.#groups.length;
  }

  /** Takes a group, unless it is less sure than a match has to be. */
  add(wholeSide: 'left' | 'right', group: Group, amountOf: (side: 'left' | 'right', row: number) => bigint): boolean {
    const partSide = wholeSide === 'left' ? 'right' : 'left';
    const parts = this.#evidence(wholeSide, group);
    const confidence = confidenceOf(parts);
    if (confidence < LEAST_CONFIDENCE) return false;
    const members = {
      [wholeSide]: group.wholes.map((row) => ({
        row,
        amount: group.isPartial ? group.partSum : amountOf(wholeSide, row),
      })),
      [partSide]: group.parts.map((row) => ({ row, amount: amountOf(partSide, row) })),
    } as { left: Member[]; right: Member[] };
    for (const side of ['left', 'right'] as const) {
      for (const { row } of members[side]) {
        this.taken[side][row] = 1;
        this.findings[side].delete(row);
      }
    }
    this.#groups.push({ rule: group.rule, ...members, confidence, parts });
    return true;
  }

  /** Notes why a row stays open; that a search was not finished is never forgotten for a later rule's reason. */
  note(side: 'left' | 'right', row: number, finding: Finding): void {
    if (this.findings[side].get(row)?.reason === 'SEARCH_LIMIT') return;
    this.findings[side].set(row, finding);
  }

  done(): MatchedGroups {
    const groups = this.#groups;
    const side = (name: 'left' | 'right') => {
      const start = new Int32Array(groups.length + 1);
      groups.forEach((group, i) => {
        start[i + 1] = (start[i] as number) + group[name].length;
      });
      const members = groups.flatMap((group) => group[name]);
      return { start, rows: Int32Array.from(members, ({ row }) => row), amounts: members.map(({ amount }) => amount) };
    };
    const part = (name: keyof Parts) => Uint16Array.from(groups, ({ parts }) => parts[name]);
    return {
      size: groups.length,
      rule: Int32Array.from(groups, ({ rule }) => rule),
      left: side('left'),
      right: side('right'),
      confidence: Uint8Array.from(groups, ({ confidence }) => confidence),
      parts: {
        amount: part('amount'),
        currency: part('currency'),
        date: part('date'),
        reference: part('reference'),
      },
    };
  }

  #evidence(wholeSide: 'left' | 'right', group: Group): Parts {
    const wholes = this.#sides[wholeSide];
    const parts = this.#sides[wholeSide === 'left' ? 'right' : 'left'];
    const days = (side: Side, rows: readonly number[]) => rows.map((row) => side.day[row] as number);
    const [wholeDays, partDays] = [days(wholes, group.wholes), days(parts, group.parts)];
    const farthest = Math.max(
      Math.max(...wholeDays) - Math.min(...partDays),
      Math.max(...partDays) - Math.min(...wholeDays),
    );
    const currencies = new Set([
      ...group.wholes.map((row) => wholes.currency[row]),
      ...group.parts.map((row) => parts.currency[row]),
    ]);
    return {
      amount: amountPart(group.wholeSum, group.partSum),
      currency: currencies.size === 1 ? WHOLE : 0,
      date: Math.max(0, datePart(farthest, group.dateWindow)),
      reference: group.referencePart,
    };
  }
}

interface Member {
  readonly row: number;
  readonly amount: bigint;
}
