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
  /**
   * A field as text: `external_id`, `amount`, `currency`, `date`, `description`, or any other column of the records.
   * Null where a record doesn't have it; all null when no record has it.
   */
  field(name: string): ArrayLike<string | null>;
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
  readonly left: Columns;
  readonly right: Columns;
  /** In any order; they run by priority, equal priorities in the order given. */
  readonly rules: readonly Rule[];
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
  /** One per rule, in the order in which they ran. */
  readonly rules: readonly RuleStatistics[];
}
