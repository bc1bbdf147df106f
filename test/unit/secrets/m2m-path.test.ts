import { createHash } from 'node:crypto';
import { describeSecretName, m2mSecretName } from '@matcher/shared/secrets/m2m-path.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { describe, expect, test } from 'vitest';

const tenantOrgId = canonicalTenantId('3f2a9c1b-0000-4000-8000-00000000000A');
const parts = { environment: 'staging', tenantOrgId, targetService: 'fetcher' };

test('the name has the tenant in canonical form, so that both spellings of a UUID have one secret', () => {
  expect(m2mSecretName(parts)).toBe('tenants/staging/3f2a9c1b00004000800000000000000a/matcher/m2m/fetcher/credentials');
});

test('without an environment label its segment is absent', () => {
  expect(m2mSecretName({ ...parts, environment: undefined })).toBe(
    'tenants/3f2a9c1b00004000800000000000000a/matcher/m2m/fetcher/credentials',
  );
});

test('segments are trimmed', () => {
  expect(m2mSecretName({ ...parts, environment: ' staging\n', targetService: '\tfetcher ' })).toBe(
    m2mSecretName(parts),
  );
});

describe.each(['', '  ', 'a/b', '/', 'a\\b', '..', 'a..b', '../production', ' ../x '])('%j is no segment', (text) => {
  test.each(['environment', 'targetService'])('as %s', (part) => {
    const expected = expect.objectContaining({ code: 'M2M_PATH_INVALID', remedy: 'permanent' });
    expect(() => m2mSecretName({ ...parts, [part]: text })).toThrow(expected);
  });
});

test('an error shows the last segment and a hash by which whoever knows the name finds it', () => {
  const name = m2mSecretName(parts);
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 8);
  expect(describeSecretName(name)).toBe(`"credentials" (path ${hash})`);
});
