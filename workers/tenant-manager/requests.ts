import { errorMessage } from '@matcher/shared/errors.ts';
import { readStatementTimeout } from '@matcher/shared/tenancy/statement-timeout.ts';
import { type TenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { service, unseen } from '@matcher/shared/tenancy/wire.ts';
import { z } from 'zod';
import { credentialTypes } from './passwords.ts';
import { type FieldProblem, invalidRequest, Refusal } from './refusals.ts';

const unknownService = `is unknown; this Tenant Manager serves ${service}`;

/** The first two both mean a database of its own, the third a schema in a shared one; the vhost is always the tenant's own. */
const isolation = z.enum(['isolated', 'database', 'schema'], {
  error: ({ input }) => (input === undefined ? 'is required' : 'takes isolated, database or schema'),
});

const tenantId = z.string().transform((text, context) => {
  // `active` would be shadowed by the list's path.
  const id = text === 'active' ? undefined : tryCanonicalTenantId(text);
  if (id !== undefined) return id;
  context.addIssue({ code: 'custom', message: 'is no tenant identifier, or a reserved one' });
  return z.NEVER;
});

/** PostgreSQL keeps no NUL and no half of a surrogate pair; what else steers terminals or turns a text's direction makes a name look like another one. */
const printable = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !unseen.test(value) && value.isWellFormed(), 'holds characters that are no text');

const text = (max: number) => z.string().trim().min(1).pipe(printable(max));

/**
 * `POST /v1/tenants`. `id` is an extension: the contract's servers always choose it. `owner.passwordHash` is checked and not kept: identities
 * are not this service's business.
 */
export const newTenant = z.object({
  id: tenantId.optional(),
  name: text(200),
  slug: z
    .string()
    .max(63)
    .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'takes lowercase letters, digits and single dashes between them')
    .optional(),
  environment: text(64),
  isolation,
  metadata: z.record(printable(100), printable(2000)).default({}),
  owner: z.object({
    email: z.email('is no email address').max(254),
    passwordHash: z.string().max(1000).optional(),
    emailVerified: z.boolean().default(false),
  }),
});
export type NewTenant = z.infer<typeof newTenant>;

const count = z.int().min(0).max(10_000);

/** Clients written in Go send 0 for what they leave to the service. */
const connections = count.optional().transform((value) => value || null);

/** @returns the problem with two limits that contradict each other. */
export function idleBeyondOpen({
  maxOpenConns,
  maxIdleConns,
}: {
  maxOpenConns: number | null;
  maxIdleConns: number | null;
}): FieldProblem | undefined {
  if (!maxOpenConns || !maxIdleConns || maxIdleConns <= maxOpenConns) return undefined;
  return { field: 'maxIdleConns', problem: 'must not exceed maxOpenConns' };
}

/** Clients written in Go send the zero value of what they leave open. */
const optionalIsolation = z.preprocess((value) => (value === '' ? undefined : value), isolation.optional());

/** `POST /v1/tenants/{tenantId}/associations/{service}`. Without an isolation mode it is the one that the tenant was created with. */
export const newAssociation = z
  .object({ isolationMode: optionalIsolation, maxOpenConns: connections, maxIdleConns: connections })
  .refine((limits) => idleBeyondOpen(limits) === undefined, {
    path: ['maxIdleConns'],
    message: 'must not exceed maxOpenConns',
    // Also when another field is wrong: all problems are named at once.
    when: ({ value }) => typeof value === 'object' && value !== null,
  });
export type NewAssociation = z.infer<typeof newAssociation>;

/** `null` and 0 clear a limit, an absent one stays. */
const changedConnections = count.nullish().transform((value) => (value === undefined ? undefined : value || null));

/** As PostgreSQL takes it: milliseconds, or a text with a unit; 0 means without end, `null` and an empty text clear it. */
const statementTimeout = z
  .unknown()
  .optional()
  .transform((value, context) => {
    if (value === undefined || value === 0) return value;
    try {
      return readStatementTimeout(value) ?? null;
    } catch (error) {
      context.addIssue({ code: 'custom', message: errorMessage(error) });
      return z.NEVER;
    }
  });

/** `PUT /v1/tenants/{tenantId}/associations/{service}/connection-settings`, an extension. */
export const newLimits = z
  .object({ maxOpenConns: changedConnections, maxIdleConns: changedConnections, statementTimeout })
  .refine((limits) => Object.values(limits).some((value) => value !== undefined), 'names no limit')
  .transform(({ statementTimeout, ...limits }) => ({ ...limits, statementTimeoutMs: statementTimeout }));
export type NewLimits = z.infer<typeof newLimits>;

/** `POST /v1/tenants/{tenantId}/associations/{service}/credentials/rotate`, an extension. Without a type, or a body: all of them. */
export const rotation = z
  .object({ credentialType: z.enum(credentialTypes, 'takes database or broker').optional() })
  .nullish()
  .transform((body) => (body?.credentialType ? [body.credentialType] : credentialTypes));

/** `DELETE /v1/tenants/{tenantId}/associations/{service}?purge=` */
export const removalQuery = z.object({
  purge: z
    .enum(['true', 'false'], 'takes true or false')
    .optional()
    .transform((value) => value === 'true'),
});

/** `GET /v1/tenants/active?service=`, `GET /v1/tenants?service=` */
export const listQuery = z.object({
  service: z.literal(service, { error: ({ input }) => (input === undefined ? 'is required' : unknownService) }),
});

/** @throws Refusal 400 that names every problem by its field. */
export function parse<S extends z.ZodType>(schema: S, input: unknown): z.infer<S> {
  const parsed = schema.safeParse(input, {
    error: (issue) => (issue.input === undefined ? 'is required' : undefined),
  });
  if (parsed.success) return parsed.data;
  throw invalidRequest(
    parsed.error.issues.map(({ path, message }) => ({ field: path.join('.') || 'body', problem: message })),
  );
}

/** The tenant that a path is about. @throws Refusal 400 for what can't be one. */
export function tenantOf(params: { tenantId: string }): TenantId {
  const id = tryCanonicalTenantId(params.tenantId);
  if (id === undefined) throw new Refusal(400, 'INVALID_TENANT', 'The path holds no tenant identifier');
  return id;
}

/** The tenant and service that a path is about. @throws Refusal 400 */
export function associationOf(params: { tenantId: string; service: string }): [TenantId, string] {
  if (params.service !== service) throw invalidRequest([{ field: 'service', problem: unknownService }]);
  return [tenantOf(params), params.service];
}
