import { type TenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { service } from '@matcher/shared/tenancy/wire.ts';
import { z } from 'zod';
import { invalidRequest, Refusal } from './refusals.ts';

const unknownService = `is unknown; this Tenant Manager serves ${service}`;

/** Both give a tenant its own database and its own vhost. */
const isolation = z.enum(['isolated', 'database'], {
  error: ({ input }) => {
    if (input === undefined) return 'is required';
    if (input === 'schema') return 'is "schema", which this Tenant Manager does not support yet';
    return 'takes isolated or database';
  },
});

const tenantId = z.string().transform((text, context) => {
  // `active` would be shadowed by the list's path.
  const id = text === 'active' ? undefined : tryCanonicalTenantId(text);
  if (id !== undefined) return id;
  context.addIssue({ code: 'custom', message: 'is no tenant identifier, or a reserved one' });
  return z.NEVER;
});

const text = (max: number) => z.string().trim().min(1).max(max);

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
  metadata: z.record(z.string().max(100), z.string().max(2000)).default({}),
  owner: z.object({
    email: z.email('is no email address').max(254),
    passwordHash: z.string().max(1000).optional(),
    emailVerified: z.boolean().default(false),
  }),
});
export type NewTenant = z.infer<typeof newTenant>;

/** Clients written in Go send 0 for what they leave to the service. */
const connections = z
  .int()
  .min(0)
  .max(10_000)
  .optional()
  .transform((value) => value || null);

/** `POST /v1/tenants/{tenantId}/associations/{service}` */
export const newAssociation = z
  .object({ isolationMode: isolation, maxOpenConns: connections, maxIdleConns: connections })
  .refine(({ maxOpenConns, maxIdleConns }) => !maxOpenConns || !maxIdleConns || maxIdleConns <= maxOpenConns, {
    path: ['maxIdleConns'],
    message: 'must not exceed maxOpenConns',
    // Also when another field is wrong: all problems are named at once.
    when: ({ value }) => typeof value === 'object' && value !== null,
  });
export type NewAssociation = z.infer<typeof newAssociation>;

/** `GET /v1/tenants/active?service=` */
export const activeQuery = z.object({
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
