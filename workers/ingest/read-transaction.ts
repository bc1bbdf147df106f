import type { FieldMap } from '@matcher/shared/jobs/contracts/context.ts';
import { isCurrency } from '@matcher/shared/money/currencies.ts';
import { AmountError, formatAmount, parseAmount } from '@matcher/shared/money/decimal.ts';
import { parseDate } from './date.ts';
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
/** What PostgreSQL's text cannot hold. */
const unstorable = '\u0000';

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

  const required = (field: keyof FieldMap): Reading<string> => {
    const column = fieldMap[field] as string;
    const value = record[column];
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
  const description = fieldMap.description === undefined ? null : textOf(record[fieldMap.description]);
  const metadata = JSON.stringify(unmapped(record, fieldMap));
  // JSON writes the character that can't be stored as an escape, which jsonb refuses too.
  if (`${externalId.value}${description}`.includes(unstorable) || metadata.includes('\\u0000')) {
    return reject(null, 'TEXT_INVALID', 'the record has a NUL character');
  }
  return {
    row,
    externalId: externalId.value,
    amount,
    currency,
    occurredAt: new Date(occurred).toISOString(),
    description,
    metadata,
  };
}

/** The columns of the file that the field map names. */
export function mappedColumns(fieldMap: FieldMap): string[] {
  return Object.values(fieldMap).filter((column) => column !== undefined);
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
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
