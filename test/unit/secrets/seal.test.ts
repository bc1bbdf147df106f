import { createSeal } from '@matcher/shared/secrets/seal.ts';
import { expect, test } from 'vitest';

const seal = createSeal('the API key', 'tests');
const text = '{"clientSecret":"s3cr3t-value €"}';

test('what was sealed opens at its place, and shows nothing until then', () => {
  const sealed = seal.close(text, 'acme/key');
  expect(sealed).toMatch(/^v1\.[\w-]+$/);
  expect(sealed).not.toContain('s3cr3t');
  expect(seal.open(sealed, 'acme/key')).toBe(text);
  expect(seal.close(text, 'acme/key')).not.toBe(sealed);
});

test('another process with the same secret opens it', () => {
  expect(createSeal('the API key', 'tests').open(seal.close(text, 'acme/key'), 'acme/key')).toBe(text);
});

test('it does not open at another place, so that one tenant’s value cannot be put where another’s is', () => {
  expect(seal.open(seal.close(text, 'acme/key'), 'blue/key')).toBeUndefined();
});

test('it does not open with another secret or for another purpose', () => {
  const sealed = seal.close(text, 'acme/key');
  expect(createSeal('another key', 'tests').open(sealed, 'acme/key')).toBeUndefined();
  expect(createSeal('the API key', 'other').open(sealed, 'acme/key')).toBeUndefined();
});

test('a change anywhere is noticed', () => {
  const sealed = seal.close(text, 'acme/key');
  const bytes = Buffer.from(sealed.slice(3), 'base64url');
  for (let index = 0; index < bytes.length; index++) {
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    expect(seal.open(`v1.${changed.toString('base64url')}`, 'acme/key')).toBeUndefined();
  }
});

test.each(['', 'v1', 'v1.', 'v1.AAAA', 'v2.AAAA', text])('%j was never sealed', (other) => {
  expect(seal.open(other, 'acme/key')).toBeUndefined();
});
