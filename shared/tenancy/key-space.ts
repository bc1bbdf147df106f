import type { Settings } from '../config/variables.ts';
import { MatcherError } from '../errors.ts';
import { type TenantId, tryCanonicalTenantId } from './tenant-id.ts';

const withoutPrefix: unique symbol = Symbol('the key space of single-tenant mode');

/**
 * Whose keys and paths: those of a tenant, or, in single-tenant mode only, all there are. The latter is a value of its own that nothing but
 * {@link keySpaceOf} gives, so that a tenant that was forgotten on the way is an error and never everybody's keys.
 */
export type KeySpace = TenantId | typeof withoutPrefix;

export function keySpaceOf(settings: Pick<Settings, 'MULTI_TENANT_ENABLED'>, tenantId: TenantId): KeySpace {
  return settings.MULTI_TENANT_ENABLED === false ? withoutPrefix : tenantId;
}

/**
 * What all keys of a space begin with.
 *
 * @param prefixOf a tenant's prefix, ending with a character that no tenant identifier has.
 * @throws MatcherError `TENANT_REQUIRED` for anything but a canonical tenant identifier or the space of single-tenant mode.
 */
export function prefixIn(space: KeySpace, prefixOf: (tenantId: TenantId) => string): string {
  if (space === withoutPrefix) return '';
  if (typeof space === 'string' && tryCanonicalTenantId(space) === space) return prefixOf(space);
  throw new MatcherError('TENANT_REQUIRED', 'Keys and paths need a tenant’s identifier in canonical form', {
    hint: 'This is a bug: what is done for a tenant has lost the tenant on the way.',
  });
}
