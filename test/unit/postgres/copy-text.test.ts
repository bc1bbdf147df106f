import { copyRow, inChunks } from '@matcher/shared/postgres/copy-text.ts';
import { expect, test } from 'vitest';

test('columns stand between tabs, a row ends with a line feed', () => {
  expect(copyRow(['a', 'b'])).toBe('a\tb\n');
});

test('null and the empty text are not the same', () => {
  expect(copyRow([null, '', null])).toBe('\\N\t\t\\N\n');
});

test('what would end a column, a row or the data is escaped', () => {
  expect(copyRow(['a\tb', 'a\nb', 'a\rb', 'a\\b'])).toBe('a\\tb\ta\\nb\ta\\rb\ta\\\\b\n');
  expect(copyRow(['\\N', '\\.'])).toBe('\\\\N\t\\\\.\n');
});

test('integers beyond the doubles’ keep every digit', () => {
  expect(copyRow([1, -2.5, 9_007_199_254_740_993n])).toBe('1\t-2.5\t9007199254740993\n');
});

test('small rows are gathered, in order, and nothing is lost at the end', async () => {
  const rows = Array.from({ length: 10 }, (_, i) => `${i}\n`);
  const chunks = await Array.fromAsync(inChunks(rows, 6));
  expect(chunks).toEqual(['0\n1\n2\n', '3\n4\n5\n', '6\n7\n8\n', '9\n']);
  expect(await Array.fromAsync(inChunks([]))).toEqual([]);
});
