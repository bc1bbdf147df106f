import { expect, test } from 'vitest';
import { timeText } from '../../../workers/cli/job-tables.ts';

test.each([
  [0, '0.0 s'],
  [-0.2, '0.0 s'],
  [9.44, '9.4 s'],
  [60, '1m 00s'],
  [312.9, '5m 12s'],
  [3599.99, '59m 59s'],
  [7380, '2h 03m'],
  [86_400 * 7 + 3600 * 4, '7d 04h'],
])('%d seconds are %s', (seconds, text) => {
  expect(timeText(seconds)).toBe(text);
});
