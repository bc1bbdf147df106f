import { objectPrefix } from '@matcher/shared/objects/tenant-objects.ts';
import { type KeySpace, keySpaceOf, prefixIn } from '@matcher/shared/tenancy/key-space.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { expect, test } from 'vitest';

const acme = canonicalTenantId('acme');

test('a tenant’s keys begin with its prefix in multi-tenant mode, and with nothing in single-tenant mode', () => {
  expect(prefixIn(keySpaceOf({ MULTI_TENANT_ENABLED: true }, acme), objectPrefix)).toBe('acme/');
  expect(prefixIn(keySpaceOf({ MULTI_TENANT_ENABLED: false }, acme), objectPrefix)).toBe('');
});

test.each<[string, unknown]>([
  ['undefined', undefined],
  ['null', null],
  ['an empty text', ''],
  ['nothing at all, where settings do not say the mode', keySpaceOf({} as never, undefined as never)],
  ['another symbol', Symbol('the key space of single-tenant mode')],
  ['a path', 'acme/../blue'],
  ['a prefix', 'tenant:blue:'],
  ['a UUID with dashes', '0190a3c2-f1b8-7c3e-9d4a-5b6c7d8e9f00'],
  ['a UUID in upper case', '0190A3C2F1B87C3E9D4A5B6C7D8E9F00'],
])('a forgotten tenant is an error and not the keys of everybody: %s', (_what, space) => {
  expect(() => prefixIn(space as KeySpace, objectPrefix)).toThrow(expect.objectContaining({ code: 'TENANT_REQUIRED' }));
});

test('a tenant that was forgotten in multi-tenant mode does not become single-tenant mode', () => {
  const forgotten = keySpaceOf({ MULTI_TENANT_ENABLED: true }, undefined as unknown as TenantId);
  expect(() => prefixIn(forgotten, objectPrefix)).toThrow(expect.objectContaining({ code: 'TENANT_REQUIRED' }));
});
