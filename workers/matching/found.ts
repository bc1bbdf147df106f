import type { Explanation, Finding, MatchedGroups, RuleStatistics } from './engine/types.ts';

/** Why a transaction stayed open, as its exception says it. */
export const OPEN_REASONS = [
  'UNMATCHED',
  'FEE_VARIANCE',
  'MISSING_BASE_CURRENCY',
  'MISSING_BASE_AMOUNT',
  'SPLIT_INCOMPLETE',
  'SEARCH_LIMIT',
  'DUPLICATE_TRANSACTION',
] as const satisfies readonly (Explanation['reason'] | Finding['reason'])[];

/** As `GroupMembers`, but where every member has its own amount in its group, these are not repeated. */
export interface FoundMembers {
  readonly start: Int32Array;
  readonly rows: Int32Array;
  readonly amounts: readonly bigint[] | undefined;
}

/** How many members of its side a group has. */
export function membersIn({ start }: FoundMembers, group: number): number {
  return (start[group + 1] as number) - (start[group] as number);
}

export interface FoundGroups extends Omit<MatchedGroups, 'left' | 'right'> {
  readonly left: FoundMembers;
  readonly right: FoundMembers;
}

/** The open rows of a side, one entry each in every column; near misses stand behind each other. */
export interface OpenRows {
  readonly rows: Int32Array;
  /** Index in `OPEN_REASONS`. */
  readonly reason: Uint8Array;
  /** Near misses of entry `i`: `missStart[i]` up to `missStart[i + 1]`, the nearest first. */
  readonly missStart: Int32Array;
  readonly missRow: Int32Array;
  /** Index in the run's rules. */
  readonly missRule: Int32Array;
  /** Bits of `APART`. */
  readonly missApart: Uint16Array;
  /** By row. */
  readonly findings: ReadonlyMap<number, Finding>;
}

/** What a run found. In columns, since objects by the hundred thousand would block the thread that receives them. */
export interface Found {
  readonly groups: FoundGroups;
  readonly open: { readonly left: OpenRows; readonly right: OpenRows };
  /** As in the engine's outputs; `pairs` counts groups. */
  readonly rules: readonly RuleStatistics[];
}
