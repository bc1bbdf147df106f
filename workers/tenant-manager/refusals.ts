import { MatcherError } from '@matcher/shared/errors.ts';
import type { Association } from './associations.ts';

export interface FieldProblem {
  field: string;
  problem: string;
}

/** An answer that says no: its HTTP status, and what its body says besides `code` and `error`. */
export class Refusal extends MatcherError {
  readonly statusCode: number;
  readonly details: { status?: string; problems?: readonly FieldProblem[] };

  constructor(statusCode: number, code: string, message: string, details: Refusal['details'] = {}) {
    super(code, message);
    this.statusCode = statusCode;
    this.details = details;
  }
}

export function invalidRequest(problems: readonly FieldProblem[]): Refusal {
  const fields = problems.map(({ field, problem }) => `${field} ${problem}`).join('; ');
  return new Refusal(400, 'INVALID_REQUEST', `The request is invalid: ${fields}`, { problems });
}

export function unknownTenant(): Refusal {
  return new Refusal(404, 'TENANT_NOT_FOUND', 'There is no such tenant');
}

export function unknownAssociation(service: string): Refusal {
  return new Refusal(404, 'ASSOCIATION_NOT_FOUND', `The tenant is not associated with ${service}`);
}

/** `0131` is the protocol's code for a tenant that is suspended. */
export function suspended(): Refusal {
  return new Refusal(403, '0131', 'The service is suspended for this tenant', { status: 'suspended' });
}

export function purged(): Refusal {
  return new Refusal(403, '0131', 'The service was purged for this tenant', { status: 'purged' });
}

/**
 * Not a 404, which a client may remember for a while, and not a 5xx, which counts as a failure of the Tenant Manager: the answer will be
 * another one very soon.
 */
function stillProvisioning(): Refusal {
  return new Refusal(
    409,
    'PROVISIONING',
    'The association is not provisioned completely; repeat its POST if that failed',
  );
}

/** Not a 409, which a client takes for "it exists already". */
export function busy(): Refusal {
  return new Refusal(
    503,
    'BUSY',
    'Another request for the same tenant or database is under way; repeat this one later',
  );
}

/** @throws Refusal unless the tenant has the service, suspended or not, with everything that was made for it. */
export function checkProvisioned(service: string, association: Association | undefined): Association {
  if (!association || association.status === 'disassociated') throw unknownAssociation(service);
  if (association.status === 'purging' || association.status === 'purged') throw purged();
  if (association.status === 'provisioning') throw stillProvisioning();
  return association;
}
