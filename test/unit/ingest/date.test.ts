import { expect, test } from 'vitest';
import { parseDate } from '../../../workers/ingest/date.ts';

test.each([
  ['2026-01-15', '2026-01-15T00:00:00.000Z'],
  ['2026-01-31T23:30:00-03:00', '2026-02-01T02:30:00.000Z'],
  ['2026-01-31 23:30:00,1239+0530', '2026-01-31T18:00:00.123Z'],
  ['9999-12-31T23:59:59Z', '9999-12-31T23:59:59.000Z'],
])('%s is %s', (text, expected) => {
  expect(new Date(parseDate(text) as number).toISOString()).toBe(expected);
});

test.each([
  '2026-02-30',
  '15/01/2026',
  '2026-01-15T10:00+15:00',
  '0000-01-01',
  // Beyond the years of four digits once their zone is applied: what the database would refuse.
  '9999-12-31T23:00:00-02:00',
  '0001-01-01T00:00:00+14:00',
])('%s is no date', (text) => {
  expect(parseDate(text)).toBeUndefined();
});
