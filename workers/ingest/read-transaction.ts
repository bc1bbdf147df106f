import type { FieldMap } from '@matcher/shared/jobs/contracts/context.ts';
import { parseDate } from './date.ts';
import {
  amountIn,
  cell,
  currencyIn,
  type Field,
  type NumberedRawRecord,
  optional,
  type Reading,
  type Rejection,
  rateIn,
  required,
  shown,
} from './read-fields.ts';
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
  amountBase: string | null;
  baseCurrency: string | null;
  fxRate: string | null;
}

const maxIdLength = 256;
/** Lists and objects within each other; neither JSON.stringify nor PostgreSQL takes them without end. */
const maxDepth = 100;

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
  const of = { row, record };

  const externalId = required(of, fieldMap, 'external_id');
  if ('code' in externalId) return externalId;
  if (externalId.value.length > maxIdLength) {
    return reject('external_id', 'TEXT_INVALID', `${fieldMap.external_id} is longer than ${maxIdLength} characters`);
  }
  const amountText = required(of, fieldMap, 'amount');
  if ('code' in amountText) return amountText;
  const amount = amountIn(row, 'amount', amountText.value);
  if ('code' in amount) return amount;
  const currencyText = required(of, fieldMap, 'currency');
  if ('code' in currencyText) return currencyText;
  const currency = currencyIn(row, 'currency', currencyText.value);
  if ('code' in currency) return currency;
  const dateText = required(of, fieldMap, 'date');
  if ('code' in dateText) return dateText;
  const occurred = parseDate(dateText.value);
  if (occurred === undefined) {
    return reject('date', 'DATE_INVALID', `${shown(dateText.value)} is no day or time of the calendar in ISO 8601`);
  }
  const amountBase = whereThere(of, fieldMap, 'amount_base', amountIn);
  if ('code' in amountBase) return amountBase;
  const baseCurrency = whereThere(of, fieldMap, 'base_currency', currencyIn);
  if ('code' in baseCurrency) return baseCurrency;
  const fxRate = whereThere(of, fieldMap, 'fx_rate', rateIn);
  if ('code' in fxRate) return fxRate;
  const description = fieldMap.description === undefined ? null : textOf(cell(record, fieldMap.description));
  return {
    row,
    externalId: externalId.value,
    amount: amount.value,
    currency: currency.value,
    occurredAt: new Date(occurred).toISOString(),
    description,
    metadata: JSON.stringify(unmapped(record, fieldMap)),
    amountBase: amountBase.value,
    baseCurrency: baseCurrency.value,
    fxRate: fxRate.value,
  };
}

/** Reads a field that may be blank, and then stays so. */
function whereThere(
  of: NumberedRawRecord,
  fieldMap: FieldMap,
  field: Field,
  read: (row: number, field: Field, text: string) => Reading<string>,
): Reading<string | null> {
  const text = optional(of, fieldMap, field);
  return 'code' in text || text.value === null ? text : read(of.row, field, text.value);
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

function unmapped(record: RawRecord, fieldMap: FieldMap): RawRecord {
  const mapped = new Set(mappedColumns(fieldMap));
  return Object.fromEntries(Object.entries(record).filter(([column]) => !mapped.has(column)));
}

function textOf(value: unknown): string | null {
  if (value === null || value === undefined || value === '') return null;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
