import { readStatementTimeout } from '@matcher/shared/tenancy/statement-timeout.ts';
import { expect, test } from 'vitest';

test.each<[unknown, number | undefined]>([
  ['30s', 30_000],
  ['500ms', 500],
  ['5min', 300_000],
  ['30000', 30_000],
  ['1.5s', 1500],
  [' 2 h ', 7_200_000],
  ['1d', 86_400_000],
  [30_000, 30_000],
  // As Go writes a duration.
  ['5m0s', 300_000],
  ['5m', 300_000],
  ['1h', 3_600_000],
  ['1h0m0s', 3_600_000],
  ['300ms', 300],
  ['1m30s', 90_000],
  ['1.5h', 5_400_000],
  ['2m0.5s', 120_500],
  ['1m500µs', 60_001],
  // Not set, as servers say it that send the zero value of what is not set.
  ['', undefined],
  [0, undefined],
  [null, undefined],
  [undefined, undefined],
  // Without end, only when that is said.
  ['0', 0],
  ['0s', 0],
  ['100us', 1],
])('statementTimeout %j is %j milliseconds', (value, milliseconds) => {
  expect(readStatementTimeout(value)).toBe(milliseconds);
});

test.each([
  'soon',
  '30 seconds',
  '5m 0s',
  '1m30',
  '1m30min',
  '-1m30s',
  '1..5h',
  '600h0m0s',
  '-1',
  -1,
  '30s; DROP TABLE jobs',
  '1e3',
  '99999999999',
  Number.NaN,
  Number.POSITIVE_INFINITY,
  true,
  {},
  ['30s'],
])('statementTimeout %j is refused instead of being taken for something', (value) => {
  expect(() => readStatementTimeout(value)).toThrow(/it takes a time as PostgreSQL does/);
});
