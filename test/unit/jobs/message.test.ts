import { isStorable } from '@matcher/shared/jobs/message.ts';
import { expect, test } from 'vitest';

test.each([
  ['plain', { a: ['text', 1, null, true, { b: 'Ünïcode 😀' }] }, true],
  ['six harmless characters', 'C:\\u0000x', true],
  ['NUL', { a: ['x\u0000'] }, false],
  ['NUL in a key', { 'a\u0000': 1 }, false],
  ['half a character', [['\ud800']], false],
])('%s: whether PostgreSQL can keep every text in it', (_what, json, expected) => {
  expect(isStorable(json)).toBe(expected);
});
