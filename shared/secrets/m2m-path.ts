import { createHash } from 'node:crypto';
import { MatcherError } from '../errors.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';

export interface M2MPathParts {
  /** The deployment's label, MULTI_TENANT_ENVIRONMENT; without one its segment is absent. */
  environment: string | undefined;
  /** The tenant's identifier: like everything keyed by tenant, the path has its canonical form. */
  tenantOrgId: TenantId;
  /** The service that is called, M2M_TARGET_SERVICE. */
  targetService: string;
}

/**
 * The name under which Secrets Manager holds a tenant's credentials (Tenant Manager contract, "Machine-to-machine credentials"):
 * `tenants/{env}/{tenantOrgID}/matcher/m2m/{targetService}/credentials`.
 *
 * @throws MatcherError `M2M_PATH_INVALID` for a part that would not stay one segment.
 */
export function m2mSecretName({ environment, tenantOrgId, targetService }: M2MPathParts): string {
  return [
    'tenants',
    ...(environment === undefined ? [] : [segment('environment label', environment)]),
    segment('tenant', tenantOrgId),
    'matcher',
    'm2m',
    segment('target service', targetService),
    'credentials',
  ].join('/');
}

/** What keeps `text` from being one segment of a secret's name; completes the sentence "The … …". `undefined` when nothing does. */
export function segmentProblem(text: string): string | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return 'must not be empty';
  if (/[/\\]|\.\./.test(trimmed)) return 'must not contain "/", "\\" or ".."';
  return undefined;
}

/**
 * A secret's name as errors and logs show it: its last segment, and the first 8 hexadecimal digits of the whole name's SHA-256, by
 * which whoever knows the name finds the line. Names tell who is a customer and where credentials are.
 */
export function describeSecretName(name: string): string {
  return `"${name.slice(name.lastIndexOf('/') + 1)}" (path ${secretNameHash(name)})`;
}

export function secretNameHash(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 8);
}

function segment(what: string, text: string): string {
  const problem = segmentProblem(text);
  if (problem) throw new MatcherError('M2M_PATH_INVALID', `The ${what} in the name of a secret ${problem}`);
  return text.trim();
}
