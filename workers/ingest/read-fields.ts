import type { FieldMap } from '@matcher/shared/jobs/contracts/context.ts';
import { isCurrency } from '@matcher/shared/money/currencies.ts';
import { AmountError, formatAmount, parseAmount } from '@matcher/shared/money/decimal.ts';
import { quoted } from './quoted.ts';
import type { RawRecord } from './read-records.ts';

export type Field = keyof FieldMap;

/** Why a record can't be used. */
export interface Rejection {
  row: number;
  /** The canonical field, or null when the whole record is at fault. */
  field: Field | null;
  code:
    | 'RECORD_UNREADABLE'
    | 'FIELD_MISSING'
    | 'NOT_A_NUMBER'
    | 'CURRENCY_UNKNOWN'
    | 'DATE_INVALID'
    | 'TEXT_INVALID'
    | 'DUPLICATE_IN_FILE'
    | 'CHANGED_RECORD';
  reason: string;
}

export type Reading<T> = { value: T } | Rejection;

export interface NumberedRawRecord {
  row: number;
  record: RawRecord;
}

/** Rates have more decimals than amounts: think of a yen in bitcoin. */
const rate = /^\+?0*\d{1,20}(?:\.\d{1,18})?$/;

/** A field as trimmed text; null when it is blank, missing or not mapped. */
export function optional({ row, record }: NumberedRawRecord, fieldMap: FieldMap, field: Field): Reading<string | null> {
  const column = fieldMap[field];
  const value = column === undefined ? null : cell(record, column);
  if (value === null || value === undefined) return { value: null };
  if (typeof value === 'string') return { value: value.trim() || null };
  return { row, field, code: 'TEXT_INVALID', reason: `${column} is not a plain value` };
}

export function required(of: NumberedRawRecord, fieldMap: FieldMap, field: Field): Reading<string> {
  const found = optional(of, fieldMap, field);
  if ('code' in found) return found;
  if (found.value !== null) return { value: found.value };
  return { row: of.row, field, code: 'FIELD_MISSING', reason: `${fieldMap[field]} is empty or missing` };
}

export function amountIn(row: number, field: Field, text: string): Reading<string> {
  try {
    return { value: formatAmount(parseAmount(text)) };
  } catch (error) {
    if (!(error instanceof AmountError)) throw error;
    const reason = `${shown(text)} is not a plain decimal of at most 20 digits, 8 after the point`;
    return { row, field, code: 'NOT_A_NUMBER', reason };
  }
}

export function currencyIn(row: number, field: Field, text: string): Reading<string> {
  const code = text.toUpperCase();
  if (isCurrency(code)) return { value: code };
  return { row, field, code: 'CURRENCY_UNKNOWN', reason: `${shown(text)} is no ISO 4217 code` };
}

export function rateIn(row: number, field: Field, text: string): Reading<string> {
  if (rate.test(text) && /[1-9]/.test(text)) return { value: text };
  const reason = `${shown(text)} is not a plain decimal above 0, at most 20 digits before and 18 after the point`;
  return { row, field, code: 'NOT_A_NUMBER', reason };
}

/** A column is what the file says, never what every object inherits. */
export function cell(record: RawRecord, column: string): unknown {
  return Object.hasOwn(record, column) ? record[column] : undefined;
}

/** What a rejection may quote of a value. */
export function shown(text: string): string {
  return JSON.stringify(quoted(text, 40) + (text.length > 40 ? '…' : ''));
}
