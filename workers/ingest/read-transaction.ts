import type { FieldMap } from '@matcher/shared/jobs/contracts/context.ts';
import { isCurrency } from '@matcher/shared/money/currencies.ts';
import { AmountError, formatAmount, parseAmount } from '@matcher/shared/money/decimal.ts';
import { parseDate } from './date.ts';
import { quoted } from './quoted.ts';
import type { NumberedRecord, RawRecord } from './read-records.ts';

/** A record that became a transaction, ready for the database. */
export interface LoadableTransaction {
  row: number;
  externalId: string;
  amount: string;
  currency: string;
  occurredAt: string;
  description: string | null;
  /** JSON object of every column that is not mapped. */
  metadata: string;
}

export interface Rejection {
  row: number;
  /** The canonical field, or null when the whole record is at fault. */
  field: keyof FieldMap | null;
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

const maxIdLength = 256;
/** Lists and objects within each other; neither JSON.stringify nor PostgreSQL takes them without end. */
const maxDepth = 100;

type Reading<T> = { value: T } | Rejection;

/** Reads the canonical fields of one record. The first field that is wrong is the one reported. */
export function readTransaction(
  { row, record, problem }: NumberedRecord,
  fieldMap: FieldMap,
): LoadableTransaction | Rejection {
  const reject = (field: Rejection['field'], code: Rejection['code'], reason: string): Rejection => ({
    row,
    field,
    code,
    reason,
  });
  if (!record) return reject(null, 'RECORD_UNREADABLE', `the record ${problem}`);
  const unstorable = whyUnstorable(record, 0);
  if (unstorable) return reject(null, unstorable.code, `the record ${unstorable.problem}`);

  const required = (field: keyof FieldMap): Reading<string> => {
    const column = fieldMap[field] as string;
    const value = cell(record, column);
    const text = typeof value === 'string' ? value.trim() : '';
    if (text === '') {
      return typeof value === 'object' && value !== null
        ? reject(field, 'TEXT_INVALID', `${column} is not a plain value`)
        : reject(field, 'FIELD_MISSING', `${column} is empty or missing`);
    }
    return { value: text };
  };

  const externalId = required('external_id');
  if ('code' in externalId) return externalId;
  if (externalId.value.length > maxIdLength) {
    return reject('external_id', 'TEXT_INVALID', `${fieldMap.external_id} is longer than ${maxIdLength} characters`);
  }
  const amountText = required('amount');
  if ('code' in amountText) return amountText;
  let amount: string;
  try {
    amount = formatAmount(parseAmount(amountText.value));
  } catch (error) {
    if (!(error instanceof AmountError)) throw error;
    return reject(
      'amount',
      'NOT_A_NUMBER',
      `${shown(amountText.value)} is not a plain decimal of at most 20 digits, 8 after the point`,
    );
  }
  const currencyText = required('currency');
  if ('code' in currencyText) return currencyText;
  const currency = currencyText.value.toUpperCase();
  if (!isCurrency(currency))
    return reject('currency', 'CURRENCY_UNKNOWN', `${shown(currencyText.value)} is no ISO 4217 code`);
  const dateText = required('date');
  if ('code' in dateText) return dateText;
  const occurred = parseDate(dateText.value);
  if (occurred === undefined) {
    return reject('date', 'DATE_INVALID', `${shown(dateText.value)} is no day or time of the calendar in ISO 8601`);
  }
  const description = fieldMap.description === undefined ? null : textOf(cell(record, fieldMap.description));
  return {
    row,
    externalId: externalId.value,
    amount,
    currency,
    occurredAt: new Date(occurred).toISOString(),
    description,
    metadata: JSON.stringify(unmapped(record, fieldMap)),
  };
}

/** The columns of the file that the field map names. */
export function mappedColumns(fieldMap: FieldMap): string[] {
  return Object.values(fieldMap).filter((column) => column !== undefined);
}

/** What keeps a value, or anything in it, out of the database: it is asked of the values as they are, since their JSON escapes what it can't hold. */
function whyUnstorable(value: unknown, depth: number): { code: Rejection['code']; problem: string } | undefined {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) return { code: 'TEXT_INVALID', problem: 'has half a character (a lone surrogate)' };
    return value.includes('\0') ? { code: 'TEXT_INVALID', problem: 'has a NUL character' } : undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth > maxDepth) return { code: 'RECORD_UNREADABLE', problem: `is nested more than ${maxDepth} deep` };
  if (Array.isArray(value)) {
    for (const item of value) {
      const found = whyUnstorable(item, depth + 1);
      if (found) return found;
    }
    return undefined;
  }
  for (const key of Object.keys(value)) {
    const found = whyUnstorable(key, depth) ?? whyUnstorable((value as RawRecord)[key], depth + 1);
    if (found) return found;
  }
  return undefined;
}

/** A column is what the file says, never what every object inherits. */
function cell(record: RawRecord, column: string): unknown {
  return Object.hasOwn(record, column) ? record[column] : undefined;
}

function unmapped(record: RawRecord, fieldMap: FieldMap): RawRecord {
  const mapped = new Set(mappedColumns(fieldMap));
  return Object.fromEntries(Object.entries(record).filter(([column]) => !mapped.has(column)));
}

function textOf(value: unknown): string | null {
  if (value === null || value === undefined || value === '') return null;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function shown(text: string): string {
  return JSON.stringify(quoted(text, 40) + (text.length > 40 ? '…' : ''));
}
