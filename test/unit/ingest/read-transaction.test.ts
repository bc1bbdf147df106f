import { describe, expect, test } from 'vitest';
import type { RawRecord } from '../../../workers/ingest/read-records.ts';
import { readTransaction } from '../../../workers/ingest/read-transaction.ts';

const fieldMap = { external_id: 'id', amount: 'amount', currency: 'currency', date: 'date', description: 'text' };
const good = { id: 'a', amount: '1.00', currency: 'EUR', date: '2026-01-15', text: 'x' };
const read = (record: RawRecord) => readTransaction({ row: 1, record: { ...good, ...record } }, fieldMap);
const half = '\ud83d';

function nested(depth: number): unknown {
  let value: unknown = 'x';
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { value };
  return value;
}

describe('a text that the database cannot hold makes a rejected record:', () => {
  test.each<[string, RawRecord]>([
    ['half a character in the id', { id: `a${half}` }],
    ['half a character in the description', { text: half }],
    ['half a character in another column', { ref: half }],
    ['half a character in a key', { [half]: 'x' }],
    ['half a character deep inside', { ref: { list: [{ a: half }] } }],
    ['half a character in a key deep inside', { ref: [{ [half]: 'a' }] }],
    ['NUL in the id', { id: 'a\0' }],
    ['NUL in the description', { text: 'a\0' }],
    ['NUL in another column', { ref: 'a\0b' }],
    ['NUL in a key', { 'a\0': 'b' }],
    ['NUL deep inside', { ref: [['\0']] }],
  ])('%s', (_what, record) => {
    expect(read(record)).toMatchObject({ code: 'TEXT_INVALID' });
  });
});

test('six characters that look like the escape of a NUL are harmless', () => {
  const path = 'C:\\u0000x';
  expect(read({ ref: path, text: path })).toMatchObject({ description: path, metadata: JSON.stringify({ ref: path }) });
});

test('a record that is nested without end is rejected', () => {
  expect(read({ ref: nested(50) })).toHaveProperty('metadata');
  expect(read({ ref: nested(1000) })).toMatchObject({ code: 'RECORD_UNREADABLE' });
  expect(read({ ref: nested(500_000) })).toMatchObject({ code: 'RECORD_UNREADABLE' });
  expect(read({ text: nested(500_000) })).toMatchObject({ code: 'RECORD_UNREADABLE' });
});

test('a date beyond the years of four digits is rejected', () => {
  expect(read({ date: '9999-12-31T23:00:00-02:00' })).toMatchObject({ field: 'date', code: 'DATE_INVALID' });
});

test('a column that is called as an object’s prototype is kept, and is not found where there is none', () => {
  const record = Object.fromEntries([...Object.entries(good), ['__proto__', 'kept']]);
  expect(readTransaction({ row: 1, record }, fieldMap)).toMatchObject({ metadata: '{"__proto__":"kept"}' });
  const odd = { ...fieldMap, external_id: '__proto__', description: 'toString' };
  expect(readTransaction({ row: 1, record }, odd)).toMatchObject({ externalId: 'kept', description: null });
  expect(readTransaction({ row: 1, record: good }, odd)).toMatchObject({ code: 'FIELD_MISSING' });
});

test('a reason that quotes the file can be stored', () => {
  const rejected = read({ amount: `${'1'.repeat(39)}😀…` });
  expect(rejected).toMatchObject({ code: 'NOT_A_NUMBER' });
  expect((rejected as { reason: string }).reason.isWellFormed()).toBe(true);
});
