import { MatcherError } from '../errors.ts';

declare const brand: unique symbol;

/**
 * A tenant identifier in canonical form. Everything keyed by tenant (pools, caches, Redis keys, object prefixes, the
 * comparison of `X-Tenant-ID`) takes this type, so that two spellings of one UUID cannot become two tenants.
 */
export type TenantId = string & { readonly [brand]: 'TenantId' };

const valid = /^[A-Za-z0-9][A-Za-z0-9_-]{0,255}$/;
const dashedUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const bareUuid = /^[0-9a-f]{32}$/i;

/**
 * The canonical form of `raw` (Tenant Manager contract, "Tenant identifiers"): a UUID, with dashes or without, becomes
 * lowercase hexadecimal without dashes; anything else stays as it is, case included.
 *
 * @throws MatcherError `INVALID_TENANT` for what is no identifier; `urn:uuid:` and braced spellings are not.
 */
export function canonicalTenantId(raw: unknown): TenantId {
  const id = tryCanonicalTenantId(raw);
  if (id === undefined) {
    throw new MatcherError('INVALID_TENANT', `${describe(raw)} is not a tenant identifier`, {
      hint: 'A tenant identifier has 1 to 256 characters: letters, digits, "-" and "_", the first one a letter or digit.',
    });
  }
  return id;
}

/** As {@link canonicalTenantId}, with `undefined` instead of an error. */
export function tryCanonicalTenantId(raw: unknown): TenantId | undefined {
  if (typeof raw !== 'string' || !valid.test(raw)) return undefined;
  if (dashedUuid.test(raw) || bareUuid.test(raw)) return raw.replaceAll('-', '').toLowerCase() as TenantId;
  return raw as TenantId;
}

function describe(raw: unknown): string {
  if (typeof raw !== 'string') return raw === undefined ? 'A missing value' : `A value of type ${typeof raw}`;
  return JSON.stringify(raw.length > 64 ? `${raw.slice(0, 64)}…` : raw);
}
