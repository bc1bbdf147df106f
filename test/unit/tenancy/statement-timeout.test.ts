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
  '5m',
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
