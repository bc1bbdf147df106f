import { MatcherError } from '../errors.ts';
import type { TenantId } from './tenant-id.ts';
import { refusal } from './wire.ts';

/** What a refusal's meaning depends on. */
export interface RefusableCall {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  /** Whom it is about, where it is about one tenant. */
  tenantId?: TenantId;
  /** Not in the contract: only our own Tenant Manager has it. */
  extension?: boolean;
}

/** Of what a refusal says, how much is shown. */
const maxShown = 300;

/** The codes of answers that are about the tenant itself; every other error leaves open what is true of it. */
const tenantCodes = new Set([
  'TENANT_NOT_FOUND',
  'TENANT_SUSPENDED',
  'SERVICE_NOT_CONFIGURED',
  'VHOST_OF_ANOTHER_TENANT',
]);

/** Of these, those with which a tenant that is being served is served no longer. A configuration that only makes no sense may be a mistake of the moment. */
const forbidding = new Set(['TENANT_NOT_FOUND', 'TENANT_SUSPENDED', 'VHOST_OF_ANOTHER_TENANT']);

/** Whether an error says that the tenant can't be served, and not only that nobody could say. */
export function isAboutTenant(error: unknown): error is MatcherError {
  return error instanceof MatcherError && tenantCodes.has(error.code);
}

/** Whether an error says that the tenant must not be served, as against no answer or one that can't be used. */
export function forbidsServing(error: unknown): error is MatcherError {
  return error instanceof MatcherError && forbidding.has(error.code);
}

/** @param status what the tenant's service is: suspended, purged or whatever else its Tenant Manager calls it. */
function suspended(status: string): MatcherError {
  return new MatcherError('TENANT_SUSPENDED', `The service is ${status} for this tenant`, {
    remedy: 'not-now',
    ...(status === 'purged'
      ? { hint: 'Its data is gone; associating the service anew begins with an empty one.' }
      : {}),
  });
}

/**
 * A 3xx or 4xx: an answer, and the end of that call only. Whatever it says about the tenant, it says nothing against a job that needed the
 * answer.
 *
 * @param redact what the answer says passes through it before it is shown.
 */
export function refusalOf(
  call: RefusableCall,
  status: number,
  json: unknown,
  redact: (text: string) => string,
): MatcherError {
  const body = refusal.safeParse(json).data;
  const shown = (text: string) => redact(text).slice(0, maxShown);
  const said = body?.error ? `: ${shown(body.error)}` : '';
  const refused = (what: string, hint?: string) =>
    new MatcherError('TENANT_MANAGER_REFUSED', `The Tenant Manager ${what}${said}`, {
      ...(hint === undefined ? {} : { hint }),
      remedy: 'not-now',
    });
  // Ours says by a code what it did not find; without one, the path itself is unknown.
  if (
    call.extension &&
    (status === 405 || (status === 404 && !/^(TENANT|ASSOCIATION)_NOT_FOUND$/.test(body?.code ?? '')))
  ) {
    return new MatcherError(
      'TENANT_MANAGER_LACKS_CALL',
      `This Tenant Manager has no call ${call.method} ${call.path}`,
      {
        hint: 'It is an extension of Matcher’s own Tenant Manager; do it in the way of the one that MULTI_TENANT_URL names.',
      },
    );
  }
  if (status === 404) {
    // A 404 that is no JSON comes from whatever stands in front of the Tenant Manager, and says nothing about a tenant.
    if (call.tenantId === undefined || json === undefined) {
      return refused(`answered 404 to ${call.path}`, 'Check MULTI_TENANT_URL.');
    }
    const message = `The Tenant Manager knows no such tenant or service${said}`;
    return new MatcherError('TENANT_NOT_FOUND', message, { remedy: 'not-now' });
  }
  if (status === 403 && body?.status) return suspended(shown(body.status));
  if (status === 401 || status === 403) return refused('denies access', 'Check MULTI_TENANT_SERVICE_API_KEY.');
  if (status === 409 && call.method === 'POST' && !call.extension)
    return new MatcherError('ALREADY_EXISTS', `It exists already${said}`);
  return refused(`answered ${status} to ${call.path}`);
}
