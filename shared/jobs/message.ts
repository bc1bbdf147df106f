import { createHash } from 'node:crypto';
import type { ConsumeMessage, Options } from 'amqplib';
import { MatcherError } from '../errors.ts';
import { type TenantId, tryCanonicalTenantId } from '../tenancy/tenant-id.ts';
import { jobBodies, jobId, knownVersions } from './contracts/bodies.ts';
import { type JobType, jobTypes } from './contracts/job-types.ts';

export const tenantHeader = 'X-Tenant-ID';
/** A publisher's own name for what it asks for: another job of the type with the same one is a duplicate and is not done. */
export const idempotencyHeader = 'X-Idempotency-Key';
/** The fence of the claim that whoever put the message off could not give back: it has ended its work. */
export const heldFenceHeader = 'X-Held-Fence';

/** Larger bodies are refused unread: a job names its data, it does not carry them. */
export const maxBodyBytes = 1024 * 1024;

/** A message that turned out to be a job for this tenant. */
export interface JobMessage {
  readonly id: string;
  readonly type: JobType;
  /** Parsed, defaults filled in. */
  readonly body: { version: number };
  /** The body as it was sent. */
  readonly sent: unknown;
  readonly bodySha256: Buffer;
  readonly idempotencyKey: string | null;
  /** See `heldFenceHeader`. */
  readonly heldFence: string | null;
}

/** The properties that make a message a job of that tenant. */
export function jobProperties(id: string, type: JobType, tenantId: TenantId): Options.Publish & { messageId: string } {
  return {
    messageId: id,
    type,
    contentType: 'application/json',
    timestamp: Math.floor(Date.now() / 1000),
    headers: { [tenantHeader]: tenantId },
  };
}

/**
 * Reads a delivery from the queue of `type` in the vhost of `owner`.
 *
 * @throws MatcherError, always permanent: `TENANT_MISSING`, `TENANT_MISMATCH`, `JOB_TYPE_UNKNOWN`, `JOB_ID_INVALID`, `BODY_TOO_LARGE`,
 *   `BODY_UNREADABLE`, `BODY_VERSION_UNKNOWN`, `BODY_INVALID`, `IDEMPOTENCY_KEY_INVALID`. Whose message it is, is decided before anything in it is read.
 */
export function readJobMessage(message: ConsumeMessage, type: JobType, owner: TenantId): JobMessage {
  const { headers, messageId, type: said } = message.properties;
  const header: unknown = headers?.[tenantHeader];
  if (header === undefined || header === null || header === '') {
    throw new MatcherError('TENANT_MISSING', `The message has no ${tenantHeader} header`, {
      hint: `Publish every message with the header ${tenantHeader}.`,
    });
  }
  if (tryCanonicalTenantId(header) !== owner) {
    throw new MatcherError('TENANT_MISMATCH', `The message's ${tenantHeader} is not the tenant that owns this vhost`);
  }
  if (said !== type || !jobTypes.includes(type)) {
    throw new MatcherError('JOB_TYPE_UNKNOWN', `The message's type property is not ${type}, the type of its queue`);
  }
  const id = jobId.safeParse(messageId);
  if (!id.success) {
    throw new MatcherError('JOB_ID_INVALID', 'The messageId property, the job’s id, is missing or malformed', {
      hint: 'It takes a UUID, or 1 to 128 letters, digits, ".", "_", ":" and "-".',
    });
  }
  return {
    id: id.data,
    type,
    idempotencyKey: readIdempotencyKey(headers?.[idempotencyHeader]),
    heldFence: readFence(headers?.[heldFenceHeader]),
    ...readBody(message.content, type),
  };
}

/** Whether it can be an idempotency key: 1 to 255 printable characters of ASCII. */
export function isIdempotencyKey(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,255}$/.test(value);
}

function readIdempotencyKey(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (isIdempotencyKey(value)) return value;
  throw new MatcherError('IDEMPOTENCY_KEY_INVALID', `The message's ${idempotencyHeader} header is malformed`, {
    hint: 'It takes 1 to 255 printable ASCII characters without spaces.',
  });
}

/** What is no fence was not written by a worker, and says nothing. */
function readFence(value: unknown): string | null {
  return typeof value === 'string' && /^\d{1,18}$/.test(value) ? value : null;
}

function readBody(content: Buffer, type: JobType): Pick<JobMessage, 'body' | 'sent' | 'bodySha256'> {
  if (content.length > maxBodyBytes) {
    throw new MatcherError(
      'BODY_TOO_LARGE',
      `The body has ${content.length} bytes, at most ${maxBodyBytes} are taken`,
      {
        hint: 'Put data into the bucket and name its key.',
      },
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content));
  } catch {
    throw new MatcherError('BODY_UNREADABLE', 'The body is not JSON in UTF-8');
  }
  const { version } = (json ?? {}) as { version?: unknown };
  if (!knownVersions.includes(version)) {
    throw new MatcherError(
      'BODY_VERSION_UNKNOWN',
      `The body's version is none that this release knows (${knownVersions})`,
    );
  }
  const parsed = jobBodies[type].safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.slice(0, 20).map((i) => `${i.path.join('.') || 'body'}: ${i.message}`);
    throw new MatcherError('BODY_INVALID', `The body is no valid ${type}: ${problems.join('; ')}`);
  }
  if (!isStorable(parsed.data)) {
    throw new MatcherError('BODY_INVALID', `The body is no valid ${type}: a text in it has a NUL or half a character`);
  }
  return { body: parsed.data, sent: json, bodySha256: createHash('sha256').update(canonicalJson(json)).digest() };
}

/** Whether PostgreSQL can keep every text in it. */
export function isStorable(json: unknown): boolean {
  if (typeof json === 'string') return json.isWellFormed() && !json.includes('\0');
  if (typeof json !== 'object' || json === null) return true;
  return Object.entries(json).every(([key, value]) => isStorable(key) && isStorable(value));
}

/** The same text for the same content, whatever the order of its keys: what a publisher sends twice is the same job. */
function canonicalJson(json: unknown): string {
  return JSON.stringify(json, (_key, value) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
