import { z } from 'zod';

/**
 * The Tenant Manager's wire contract: what its HTTP API answers and what it publishes on Redis. Field names are exact; unknown fields
 * are ignored, since older and newer servers speak the same protocol.
 */

export const service = 'matcher';

/**
 * Characters that do something instead of being seen: they end lines, move a terminal's cursor, or turn the direction of what follows them. No name
 * that is logged or shown may hold one.
 */
export const unseen = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u;
const allUnseen = new RegExp(unseen, 'gu');

/** Something that is taken as it is, such as a password. */
const text = z.string().min(1);
/** Something that is a part of addresses, log lines or error texts, and must be what it looks like. */
const name = text.refine((value) => !unseen.test(value) && value.isWellFormed(), 'holds characters that nobody sees');
/** Something that is only shown. */
const label = z.string().transform((value) => value.toWellFormed().replace(allUnseen, '\ufffd'));
const port = z.coerce.number().int().min(1).max(65_535);
/** Servers written in Go send the zero value of what is not set. */
const optional = <S extends z.ZodType<string>>(schema: S) =>
  z
    .literal('')
    .or(schema)
    .nullish()
    .transform((value) => value || undefined);
const optionalText = optional(text);
const optionalName = optional(name);
const optionalLabel = optional(label);
const optionalCount = z
  .number()
  .int()
  .nullish()
  .transform((value) => (value && value > 0 ? value : undefined));

const postgresql = z.object({
  host: name,
  port,
  database: name,
  username: name,
  password: text,
  schema: optionalName,
  sslmode: optionalName,
  sslrootcert: optionalText,
  sslcert: optionalText,
  sslkey: optionalText,
});

/** Nothing that is wrong with the replica may keep a tenant from its primary: it is found out when the replica is used. */
const postgresqlReplica = z
  .object({
    host: name,
    port: port.catch(5432),
    database: optionalName,
    username: optionalName,
    password: optionalText,
    schema: optionalName,
    sslmode: optionalName,
    sslrootcert: optionalText,
    sslcert: optionalText,
    sslkey: optionalText,
  })
  .nullish()
  .catch(undefined);

/** A vhost and how to get into it. */
export const rabbitmqModule = z.object({
  host: name,
  port,
  vhost: name,
  username: name,
  password: text,
  tls: z.boolean().nullish(),
  tlsCAFile: optionalText,
});

const connectionSettings = z.object({
  maxOpenConns: optionalCount,
  maxIdleConns: optionalCount,
  /** A text that PostgreSQL takes, or milliseconds. */
  statementTimeout: z.unknown().optional(),
});

/** A database and its limits. */
export const databaseModule = z.object({
  postgresql: postgresql.nullish(),
  postgresqlReplica,
  connectionSettings: connectionSettings.nullish(),
});
export type DatabaseModule = z.infer<typeof databaseModule>;

/**
 * `GET /v1/tenants/{tenantId}/associations/{service}/connections`. The modules are read one by one by whoever needs one: a mistake in another's is
 * none of our business, and one in ours concerns that tenant alone.
 */
export const connectionsAnswer = z.object({
  id: text,
  tenantSlug: label,
  tenantName: optionalLabel,
  service: optionalLabel,
  status: optionalLabel,
  isolationMode: optionalLabel,
  databases: z.record(z.string(), z.unknown()).nullish(),
  messaging: z.object({ rabbitmq: z.unknown() }).nullish(),
  rabbitmq: z.record(z.string(), z.unknown()).nullish(),
  connectionSettings: connectionSettings.nullish(),
});
export type ConnectionsAnswer = z.infer<typeof connectionsAnswer>;

/** `GET /v1/tenants/active?service={service}` */
const activeTenant = z.object({ id: text, name: label.nullish(), status: label.nullish() });
/** One entry that can't be read costs that one; when none can, it is no list. */
export const activeTenantsAnswer = z.array(z.unknown()).transform((entries, context) => {
  const read = entries.map((entry) => activeTenant.safeParse(entry));
  const tenants = read.flatMap(({ data }) => data ?? []);
  if (tenants.length > 0 || entries.length === 0) return tenants;
  for (const [place, { error }] of read.entries()) {
    for (const { path, message } of error?.issues ?? []) {
      context.addIssue({ code: 'custom', path: [place, ...path], message });
    }
  }
  return z.NEVER;
});

/** The body of a refusal; a `status` in a 403 says that the tenant's service is suspended or purged, whatever else is in it. */
export const refusal = z.object({
  code: optionalLabel.catch(undefined),
  error: optionalLabel.catch(undefined),
  status: optionalLabel.catch(undefined),
});

export const lifecycleEventTypes = [
  'tenant.created',
  'tenant.activated',
  'tenant.suspended',
  'tenant.deleted',
  'tenant.updated',
  'tenant.service.associated',
  'tenant.service.disassociated',
  'tenant.service.suspended',
  'tenant.service.purged',
  'tenant.service.reactivated',
  'tenant.credentials.rotated',
  'tenant.connections.updated',
  'tenant.cache.invalidate',
] as const;
export type LifecycleEventType = (typeof lifecycleEventTypes)[number];

/** What of a lifecycle event's envelope is used. */
export const lifecycleEvent = z.object({
  event_type: name,
  timestamp: z.string().nullish(),
  tenant_id: text,
  environment: z.string().nullish(),
  payload: z.object({ service_name: z.string().nullish() }).loose().nullish(),
});

/** The Pub/Sub channel of one deployment's events, with the colon at its end. */
export function lifecycleChannel(environment: string): string {
  return `tenant-events:${environment}:`;
}
