import { canonicalTenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const canonical = '0190c6e2a4b87f3d9c2b5e8a1d4f7b60';

test.each([
  ['as it is', canonical],
  ['with dashes', '0190c6e2-a4b8-7f3d-9c2b-5e8a1d4f7b60'],
  ['in upper case', '0190C6E2A4B87F3D9C2B5E8A1D4F7B60'],
  ['in upper case with dashes', '0190C6E2-A4B8-7F3D-9C2B-5E8A1D4F7B60'],
])('one tenant has one name, however its UUID is spelled: %s', (_how, spelling) => {
  expect(canonicalTenantId(spelling)).toBe(canonical);
});

test.each([
  ['as a URN', `urn:uuid:${canonical}`],
  ['as a URN with dashes', 'urn:uuid:0190c6e2-a4b8-7f3d-9c2b-5e8a1d4f7b60'],
  ['in braces', '{0190c6e2-a4b8-7f3d-9c2b-5e8a1d4f7b60}'],
])('a UUID %s is no identifier', (_how, spelling) => {
  expect(tryCanonicalTenantId(spelling)).toBeUndefined();
});

test('what is no UUID stays as it is, case included', () => {
  expect(canonicalTenantId('Blue-Harbour_2')).toBe('Blue-Harbour_2');
  expect(canonicalTenantId('blue-harbour_2')).toBe('blue-harbour_2');
});

test('dashes elsewhere than in a UUID’s places make no UUID', () => {
  const moved = '0190c6e2a-4b8-7f3d-9c2b-5e8a1d4f7b60';
  expect(canonicalTenantId(moved)).toBe(moved);
});

test('an identifier has 1 to 256 characters', () => {
  expect(canonicalTenantId('a')).toBe('a');
  expect(canonicalTenantId('a'.repeat(256))).toBe('a'.repeat(256));
  expect(tryCanonicalTenantId('')).toBeUndefined();
  expect(tryCanonicalTenantId('a'.repeat(257))).toBeUndefined();
});

test.each(['-a', '_a', '.a', ' a', 'é', '*'])('the first character is a letter or digit, unlike in %j', (id) => {
  expect(tryCanonicalTenantId(id)).toBeUndefined();
});

test.each(['a/b', '..', 'a..b', 'a:b', 'a*', 'a[b]', 'a?', 'a b', 'a\n', 'a\u0000', 'aé', 'a%2fb', 'a\\b'])(
  'nothing that means something in a key, path or pattern is in an identifier: %j',
  (id) => {
    expect(tryCanonicalTenantId(id)).toBeUndefined();
  },
);

test.each([undefined, null, 7, {}, [canonical], Buffer.from(canonical)])('no text, no identifier: %j', (raw) => {
  expect(() => canonicalTenantId(raw)).toThrow(expect.objectContaining({ code: 'INVALID_TENANT' }));
});

test('the error shows no more of a wrong identifier than helps', () => {
  expect(() => canonicalTenantId(`!${'x'.repeat(1000)}`)).toThrow(
    expect.objectContaining({ code: 'INVALID_TENANT', message: expect.stringMatching(/^.{1,120}$/) }),
  );
});

test('a canonical identifier is its own canonical form', () => {
  const ids = fc.oneof(fc.uuid(), fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$/));
  fc.assert(
    fc.property(ids, (id) => {
      const once = canonicalTenantId(id);
      expect(canonicalTenantId(once)).toBe(once);
    }),
  );
});
