import { checkObjectKey } from '@matcher/shared/objects/object-key.ts';
import { expect, test } from 'vitest';

test.each([
  'bank.csv',
  'uploads/2026-01/bank statement (final).csv',
  'exports/ctx/…/Übersicht.csv',
  'a/..b/c..',
  '%2e%2e/%2f',
  '😀',
])('%j is a key', (key) => {
  expect(checkObjectKey(key)).toBe(key);
});

test.each([
  ['', 'is empty'],
  ['/etc/passwd', 'starts with "/"'],
  ['..', 'part'],
  ['../other/file', 'part'],
  ['a/../../other/file', 'part'],
  ['a/..', 'part'],
  ['./a', 'part'],
  ['a//b', 'part'],
  ['a/', 'part'],
  ['a\\..\\b', 'backslash'],
  ['a\u0000', 'control character'],
  ['a\r\nb', 'control character'],
  ['a\u007f', 'control character'],
  ['a\ud800b', 'Unicode'],
])('%j is refused, because it %s', (key, reason) => {
  expect(() => checkObjectKey(key)).toThrow(
    expect.objectContaining({
      code: 'OBJECT_KEY_INVALID',
      remedy: 'permanent',
      message: expect.stringContaining(reason),
    }),
  );
});

test('the longest key leaves room for the longest tenant’s prefix within S3’s 1,024 bytes', () => {
  const longest = 'é'.repeat(350);
  expect(checkObjectKey(longest)).toBe(longest);
  expect(Buffer.byteLength(`${'t'.repeat(256)}/${longest}`)).toBeLessThanOrEqual(1024);
  expect(() => checkObjectKey(`${longest}x`)).toThrow('longer than 700 bytes');
});
