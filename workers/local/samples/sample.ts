/** What a sample reconciliation is, and what is known about it before any engine has seen it. */

export type Side = 'LEFT' | 'RIGHT';

export type CanonicalField = 'external_id' | 'amount' | 'currency' | 'date';

export type BadReason = 'MISSING' | 'NOT_A_NUMBER' | 'UNKNOWN_CURRENCY' | 'IMPOSSIBLE_DATE';

/** A record that ingestion must report and leave out. */
export interface BadRecord {
  side: Side;
  /** Which record of its file, from 1; a CSV file's heading is not one, and a quoted line break does not begin one. */
  row: number;
  field: CanonicalField;
  /** The column or property of the file that the field map binds to `field`. */
  column: string;
  reason: BadReason;
}

export interface TruthPair {
  /** External ids. */
  left: string;
  right: string;
  /** The name of the rule that settles the pair. */
  rule: string;
}

/** Right by construction: the generator decides what becomes of a record before it writes it. */
export interface SampleTruth {
  /** Records in each file, the bad ones included. */
  recordsRead: { left: number; right: number };
  pairs: TruthPair[];
  /** External ids of the records without a partner. */
  open: { left: string[]; right: string[] };
  bad: BadRecord[];
  /** Pairs by the name of their rule; a rule that settles nothing is there with 0. */
  matchedByRule: Record<string, number>;
  /** Open records of both sides by the reason of their exception. */
  exceptionsByReason: Record<string, number>;
}

export interface Sample {
  name: string;
  /** Absolute paths. */
  contextFile: string;
  dataFiles: { left: string; right: string };
  truth: SampleTruth;
}

/** Why a record stays open, as its exception says it. */
export type OpenReason = 'UNMATCHED' | 'FEE_VARIANCE' | 'DUPLICATE_TRANSACTION';

/** What becomes of one record. */
export type Fate =
  | { kind: 'MATCHED'; partner: string; rule: string }
  | { kind: 'OPEN'; reason: OpenReason }
  | { kind: 'BAD'; field: CanonicalField; column: string; reason: BadReason };

export interface SampleRecord {
  externalId: string;
  /** By column. Undefined: the property is absent from a JSON record, the cell of a CSV record is empty. */
  values: Record<string, string | undefined>;
  fate: Fate;
}

/** One side of a sample, made record by record. */
export interface SampleSource {
  side: Side;
  file: string;
  format: 'CSV' | 'JSON';
  /** What ends a CSV line: ledgers write the one, banks the other. */
  lineEnd: '\n' | '\r\n';
  records: number;
  /** The record at a position of the file, from 0. */
  record(position: number): SampleRecord;
}

export interface SampleReconciliation {
  name: string;
  /** The context file's text; it names the two sources' files. */
  context: string;
  /** Rule names in the order of their priority. */
  rules: readonly string[];
  left: SampleSource;
  right: SampleSource;
}

/** The number of a record in its id, from 1, always as long, so that every collation sorts the ids alike. */
export function recordNumber(index: number): string {
  return String(index + 1).padStart(7, '0');
}
