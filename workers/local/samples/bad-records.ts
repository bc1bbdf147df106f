import type { BadReason, CanonicalField, SampleRecord } from './sample.ts';

const SPOILED: readonly { field: CanonicalField; value: string | undefined; reason: BadReason }[] = [
  { field: 'amount', value: undefined, reason: 'MISSING' },
  { field: 'amount', value: 'twelve', reason: 'NOT_A_NUMBER' },
  { field: 'amount', value: '1.234,56', reason: 'NOT_A_NUMBER' },
  { field: 'currency', value: 'ZZZ', reason: 'UNKNOWN_CURRENCY' },
  { field: 'date', value: '2026-02-30', reason: 'IMPOSSIBLE_DATE' },
  { field: 'date', value: '', reason: 'MISSING' },
  { field: 'external_id', value: '', reason: 'MISSING' },
];

/** Bad records on each side, whatever the size: one of each kind. */
export const BAD_RECORDS = SPOILED.length;

/** Spoils one field of an otherwise good record. `kind` is 0 … BAD_RECORDS - 1; `columns` is the source's field map. */
export function spoil(record: SampleRecord, kind: number, columns: Record<CanonicalField, string>): SampleRecord {
  const spoiled = SPOILED[kind];
  if (spoiled === undefined) throw new RangeError(`There are ${BAD_RECORDS} kinds of bad records, not ${kind + 1}.`);
  const { field, reason } = spoiled;
  const column = columns[field];
  return {
    ...record,
    values: { ...record.values, [column]: spoiled.value },
    fate: { kind: 'BAD', field, column, reason },
  };
}
