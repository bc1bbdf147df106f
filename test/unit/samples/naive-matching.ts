import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import type { Sample, Side } from '../../../workers/local/samples/sample.ts';

/**
 * The samples' rules once more, in the plainest words and over every left with every right record. It shares no line with
 * the generator or the engine, so that agreement means something.
 */

export type Row = Record<string, string | undefined>;

export interface NaiveRecord {
  id: string;
  row: Row;
  /** In thousandths. */
  amount: bigint;
  currency: string;
  /** UTC days since 1970-01-01. */
  day: number;
  /** Milliseconds. */
  time: number;
}

export interface NaiveRule {
  name: string;
  holds(left: NaiveRecord, right: NaiveRecord): boolean;
}

export interface NaivePair {
  left: string;
  right: string;
  rule: string;
}

const FIVE_HUNDREDTHS = 50n;

const difference = (left: NaiveRecord, right: NaiveRecord) =>
  left.amount > right.amount ? left.amount - right.amount : right.amount - left.amount;
const lag = (left: NaiveRecord, right: NaiveRecord) => right.day - left.day;
const text = (record: NaiveRecord, field: string) => (record.row[field] ?? '').trim();
const same = (field: string) => (left: NaiveRecord, right: NaiveRecord) =>
  text(left, field) !== '' && text(left, field).toUpperCase() === text(right, field).toUpperCase();
const sameCurrency = (left: NaiveRecord, right: NaiveRecord) => left.currency === right.currency;

const sameOrder = same('order_id');
const sameAuthorization = same('authorization_code');
const sameEndToEndId = same('end_to_end_id');
const sameReference = same('reference');

type Predicate = (left: NaiveRecord, right: NaiveRecord) => boolean;
const all =
  (...predicates: Predicate[]): Predicate =>
  (left, right) =>
    predicates.every((predicate) => predicate(left, right));

const equalAmounts: Predicate = (left, right) => difference(left, right) === 0n;
const nearAmounts: Predicate = (left, right) => difference(left, right) <= FIVE_HUNDREDTHS;
const lagWithin =
  (from: number, to: number): Predicate =>
  (left, right) =>
    lag(left, right) >= from && lag(left, right) <= to;

export const NAIVE_RULES: Record<string, NaiveRule[]> = {
  'card-settlement': [
    { name: 'exact', holds: all(sameCurrency, sameOrder, sameAuthorization, equalAmounts) },
    { name: 'tolerance', holds: all(sameCurrency, sameOrder, sameAuthorization, nearAmounts, lagWithin(-4, 4)) },
    { name: 'lag', holds: all(sameCurrency, equalAmounts, lagWithin(0, 4)) },
  ],
  'bank-statement': [
    { name: 'end-to-end-id', holds: all(sameCurrency, sameEndToEndId, equalAmounts, lagWithin(0, 0)) },
    { name: 'reference', holds: all(sameCurrency, sameReference, equalAmounts, lagWithin(0, 0)) },
    { name: 'reference-tolerance', holds: all(sameCurrency, sameReference, nearAmounts, lagWithin(0, 0)) },
    { name: 'lag', holds: all(sameCurrency, sameEndToEndId, equalAmounts, lagWithin(0, 1)) },
  ],
};

/** Rule by rule: all open pairs that hold, the nearest first, each taken when both are still open. */
export function matchNaively(left: NaiveRecord[], right: NaiveRecord[], rules: NaiveRule[]): NaivePair[] {
  const taken = new Set<NaiveRecord>();
  const pairs: NaivePair[] = [];
  for (const { name, holds } of rules) {
    const candidates = left
      .filter((one) => !taken.has(one))
      .flatMap((one) => right.filter((other) => !taken.has(other) && holds(one, other)).map((other) => [one, other]))
      .sort(([l1, r1], [l2, r2]) =>
        compareNearness(l1 as NaiveRecord, r1 as NaiveRecord, l2 as NaiveRecord, r2 as NaiveRecord),
      );
    for (const [one, other] of candidates as [NaiveRecord, NaiveRecord][]) {
      if (taken.has(one) || taken.has(other)) continue;
      taken.add(one).add(other);
      pairs.push({ left: one.id, right: other.id, rule: name });
    }
  }
  return pairs;
}

function compareNearness(l1: NaiveRecord, r1: NaiveRecord, l2: NaiveRecord, r2: NaiveRecord): number {
  return (
    Number(difference(l1, r1) - difference(l2, r2)) ||
    Math.abs(lag(l1, r1)) - Math.abs(lag(l2, r2)) ||
    compareText(l1.id, l2.id) ||
    compareText(r1.id, r2.id)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** All rows of one side's file, the bad ones included. */
export async function rowsOf(sample: Sample, side: Side): Promise<Row[]> {
  const file = sample.dataFiles[side === 'LEFT' ? 'left' : 'right'];
  const content = await readFile(file, 'utf8');
  return file.endsWith('.csv') ? parse(content, { columns: true }) : JSON.parse(content);
}

const COLUMNS: Record<string, Record<Side, { id: string; amount: string; date: string }>> = {
  'card-settlement': {
    LEFT: { id: 'ledger_tx_id', amount: 'amount', date: 'occurred_at' },
    RIGHT: { id: 'acquirer_tx_id', amount: 'gross_amount', date: 'settlement_date' },
  },
  'bank-statement': {
    LEFT: { id: 'ledger_entry_id', amount: 'amount', date: 'posted_at' },
    RIGHT: { id: 'bank_entry_id', amount: 'amount', date: 'booking_date' },
  },
};

/** The usable records of one side. */
export async function goodRecords(sample: Sample, side: Side): Promise<NaiveRecord[]> {
  const bad = new Set(sample.truth.bad.filter((record) => record.side === side).map(({ row }) => row));
  const columns = COLUMNS[sample.name]?.[side];
  if (columns === undefined) throw new Error(`Nothing is known about the sample ${sample.name}.`);
  return (await rowsOf(sample, side)).filter((_, index) => !bad.has(index + 1)).map((row) => naiveRecord(row, columns));
}

function naiveRecord(row: Row, columns: { id: string; amount: string; date: string }): NaiveRecord {
  const time = Date.parse(row[columns.date] ?? '');
  const [whole = '', decimals = ''] = (row[columns.amount] ?? '').split('.');
  return {
    id: row[columns.id] ?? '',
    row,
    amount: BigInt(whole + decimals.padEnd(3, '0')),
    currency: row.currency ?? '',
    day: Math.floor(time / 86_400_000),
    time,
  };
}
