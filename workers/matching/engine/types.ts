import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';

/** One side of a reconciliation, one entry per record in every column. The engine reads it and never changes it. */
export interface Columns {
  /** Number of records. */
  readonly size: number;
  /** Unique within a source; the same one may occur in two sources of a side. */
  readonly externalId: ArrayLike<string>;
  /** In units of 10^-8, as `parseAmount` gives them. */
  readonly amount: ArrayLike<bigint>;
  /** ISO 4217, upper case. */
  readonly currency: ArrayLike<string>;
  /** Milliseconds since 1970-01-01T00:00Z. */
  readonly timestamp: ArrayLike<number>;
  /** The source of each record; the last resort that tells records of equal `externalId` apart. */
  readonly source?: ArrayLike<string>;
  /** The amount in the base currency, as `amount`; null where it is not known. */
  readonly amountBase?: ArrayLike<bigint | null>;
  /** ISO 4217, upper case; null where it is not known. */
  readonly baseCurrency?: ArrayLike<string | null>;
  /**
   * A field as text: `external_id`, `amount`, `currency`, `date`, `description`, or any other column of the records.
   * Null where a record doesn't have it; all null when no record has it.
   */
  field(name: string): ArrayLike<string | null>;
}

/** Texts in UTF-8, one behind the other: text `i` is `bytes[start[i]]` up to `bytes[start[i + 1]]`. A missing one is empty. */
export interface PackedText {
  readonly bytes: Uint8Array;
  /** One entry more than there are texts. */
  readonly start: Uint32Array;
}

/** Amounts in units of 10^-8, as whole numbers in doubles: exact, and many times faster than bigints. */
export interface PackedAmounts {
  /** With `high`: an amount modulo 10^14, from 0 up. Without: the amount itself, of at most 2^52 without its sign. */
  readonly low: Float64Array;
  /** An amount divided by 10^14, rounded down. */
  readonly high?: Float64Array | undefined;
}

export interface PackedOptionalAmounts extends PackedAmounts {
  /** 1 where there is none; the amount is 0 then. */
  readonly missing: Uint8Array;
}

/** A few different texts, numbered. */
export interface PackedCodes {
  /** Index in `names`; -1 where a record has none. */
  readonly codes: Int32Array;
  readonly names: readonly string[];
}

/** `Columns` in typed arrays: what the engine works on, and what it turns `Columns` into first. */
export interface PackedColumns {
  readonly size: number;
  readonly externalId: PackedText;
  readonly amount: PackedAmounts;
  readonly currency: PackedCodes;
  readonly timestamp: Float64Array;
  readonly source?: PackedCodes | undefined;
  readonly amountBase?: PackedOptionalAmounts | undefined;
  readonly baseCurrency?: PackedCodes | undefined;
  /** As in `Columns`; null when no record has the field. */
  field(name: string): PackedText | null;
}

/**
 * Whether to go on. An `AbortSignal` fits, but the engine never yields, so within one thread nothing could abort it:
 * give it an object whose `aborted` reads memory that another thread writes.
 */
export interface Cancellation {
  readonly aborted: boolean;
  readonly reason: unknown;
}

/** How far a run is; reported at most four times a second. */
export interface Progress {
  /** Index in `MatchInput.rules` of the rule that runs. */
  readonly rule: number;
  /** Rules that are done. */
  readonly rulesDone: number;
  /** Pairs found so far, by all rules. */
  readonly pairs: number;
}

export interface MatchInput {
  readonly left: Columns | PackedColumns;
  readonly right: Columns | PackedColumns;
  /** In any order; they run by priority, equal priorities in the order given. */
  readonly rules: readonly Rule[];
  /**
   * Pairs of rows that must not come together, in two columns: somebody said so. One to one, `left[i]` and `right[i]` are never paired: a pair is
   * taken when neither of its two has a nearer open partner that is not forbidden, and when a rule is done, no two open records that are not
   * forbidden still satisfy it. Of wholes and parts, no group has both: what is forbidden with one of a group's wholes is not among
   * the parts that are added up. Meant to be few: each costs its row a slower search.
   */
  readonly forbidden?: { readonly left: Int32Array; readonly right: Int32Array } | undefined;
  /** Looked at every few thousand steps; when it is aborted, the run throws its reason. */
  readonly signal?: Cancellation | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Pairs as parallel arrays of equal length, in the order in which they were taken within a rule and partition. */
export interface MatchedPairs {
  readonly size: number;
  /** Index in `MatchInput.rules`. */
  readonly rule: Int32Array;
  /** Row in `MatchInput.left`. */
  readonly left: Int32Array;
  /** Row in `MatchInput.right`. */
  readonly right: Int32Array;
  /** 60 to 100: below 90 proposed, from 90 confirmed. */
  readonly confidence: Uint8Array;
  /** How well each part of the evidence holds, in 1/10000 (10000: fully). */
  readonly parts: {
    readonly amount: Uint16Array;
    readonly currency: Uint16Array;
    readonly date: Uint16Array;
    readonly reference: Uint16Array;
  };
}

/** What one rule did. */
export interface RuleStatistics {
  /** Index in `MatchInput.rules`. */
  readonly rule: number;
  /** Pairs that were held against the rule. All pairs of both sides would be the quadratic way. */
  readonly candidates: number;
  readonly pairs: number;
  readonly ms: number;
}

export interface MatchOutput {
  readonly pairs: MatchedPairs;
  /** Left rows that a rule left out since too many right ones would have had to be held against them, and that stayed open. */
  readonly limited: readonly number[];
  /** One per rule, in the order in which they ran. */
  readonly rules: readonly RuleStatistics[];
}

/** Why a record stayed open, as exceptions name it. */
export type OpenReason =
  | 'UNMATCHED'
  | 'FEE_VARIANCE'
  | 'MISSING_BASE_AMOUNT'
  | 'MISSING_BASE_CURRENCY'
  | 'SEARCH_LIMIT'
  | 'DUPLICATE_TRANSACTION';

/** A record of the other side that came near. */
export interface NearMiss {
  readonly row: number;
  /** Index in `MatchInput.rules`: the rule under which it came nearest. */
  readonly rule: number;
  /** What kept the two apart: bits of `APART`. */
  readonly apart: number;
  /** How far the amounts are apart, in two words (see `Amounts`). */
  readonly difference: { readonly high: number; readonly low: number };
  /** UTC days between the two. */
  readonly days: number;
}

export interface Explanation {
  readonly row: number;
  reason: OpenReason;
  /** At most three, the nearest first. */
  readonly nearMisses: NearMiss[];
}

/** One side of groups: the members of group `g` are `rows[start[g]]` up to `rows[start[g + 1]]`, in their side's order. */
export interface GroupMembers {
  readonly start: Int32Array;
  readonly rows: Int32Array;
  /** What each member has in its group, in 10^-8: its amount, or of a partly allocated whole what its parts come to. */
  readonly amounts: readonly bigint[];
}

/** Groups of wholes and parts, in the order in which they were taken. */
export interface MatchedGroups {
  readonly size: number;
  /** Index in `MatchInput.rules`. */
  readonly rule: Int32Array;
  readonly left: GroupMembers;
  readonly right: GroupMembers;
  /** As in `MatchedPairs`. */
  readonly confidence: Uint8Array;
  readonly parts: MatchedPairs['parts'];
}

/** Why a row stayed open in an allocation. */
export interface Finding {
  /**
   * `SPLIT_INCOMPLETE`: no parts add up. `SEARCH_LIMIT`: the search for them was not finished. `MISSING_BASE_AMOUNT`: there is no
   * amount to add up.
   */
  readonly reason: 'SPLIT_INCOMPLETE' | 'SEARCH_LIMIT' | 'MISSING_BASE_AMOUNT';
  /** Index in `MatchInput.rules`. */
  readonly rule: number;
  /** What the wholes have beyond all parts that were looked at together, in 10^-8; negative when the parts have more. */
  readonly gap: bigint | null;
}

export interface AllocationOutput {
  readonly groups: MatchedGroups;
  /** By row; rows that no rule had something to say about are in neither. */
  readonly findings: { readonly left: ReadonlyMap<number, Finding>; readonly right: ReadonlyMap<number, Finding> };
  /** One per rule, in the order in which they ran; `pairs` counts groups. */
  readonly rules: readonly RuleStatistics[];
}
