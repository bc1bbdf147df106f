import { randomUUID } from 'node:crypto';
import type { Settings } from '../config/variables.ts';
import { MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { openVhost } from '../rabbitmq/open-vhost.ts';
import { jobsExchange } from '../rabbitmq/topology.ts';
import type { TenantConfig } from '../tenancy/tenant-config.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { createTenantSource, type TenantSource } from '../tenancy/tenant-source.ts';
import { type JobBodyInput, jobBodies, jobId as jobIdForm } from './contracts/bodies.ts';
import type { JobType } from './contracts/job-types.ts';
import { type FollowOptions, type JobEnd, JobFollower } from './follow.ts';
import { idempotencyHeader, isIdempotencyKey, isStorable, jobProperties, maxBodyBytes } from './message.ts';
import { PublishBuffer } from './publish-buffer.ts';
import { type JobRow, readJob } from './record.ts';
import { openJobRecords } from './records.ts';

export interface JobClientOptions {
  /** Loaded for the role `publisher`, or any other. */
  settings: Settings;
  tenantId: TenantId;
  log: Logger;
  /**
   * Whether it also hears the tenant's events, from before anything is published. Without them, following a job means
   * looking into its record every two seconds: right for a publisher that follows little or nothing. Default: true.
   */
  listen?: boolean;
}

export interface PublishOptions {
  /** The job's id: a UUID by default. */
  id?: string;
  /**
   * The publisher's own name for what it asks for, 1 to 255 printable ASCII characters: while it is remembered (`IDEMPOTENCY_SUCCESS_TTL_HOURS`), another
   * job of the type with the same one is a duplicate, which is not done and ends as the first one does. For publishers that don't keep the ids of their jobs.
   */
  idempotencyKey?: string | undefined;
}

/** Publishes one tenant's jobs, and follows them. */
export interface JobClient {
  readonly tenantId: TenantId;
  /**
   * Publishes a job: checked against the schema of its body, persistent, and confirmed by the broker when this returns. The
   * same id again is the same job, so a call whose outcome is unknown (`NOT_CONFIRMED`) is simply repeated with it. While the broker is away, a call
   * waits ten seconds for it, and at most 1,000 calls do.
   *
   * @returns the job's id.
   * @throws MatcherError `BODY_INVALID` (names every field), `BODY_TOO_LARGE`, `JOB_ID_INVALID`, `IDEMPOTENCY_KEY_INVALID`, `PUBLISHER_BUFFER_FULL`,
   *   `BROKER_UNAVAILABLE`, `UNROUTABLE`: nothing was published; `NOT_CONFIRMED`: unknown.
   */
  publish<T extends JobType>(type: T, body: JobBodyInput<T>, options?: PublishOptions): Promise<string>;
  /**
   * Waits for the end of a job, published here or elsewhere. A message that never became a job (unreadable, of another
   * tenant) has no end: bound the waiting with a signal.
   *
   * @typeParam T the job's type, which its publisher knows.
   * @throws the signal's reason when it is aborted first.
   */
  follow<T extends JobType>(jobId: string, options?: FollowOptions): Promise<JobEnd<T>>;
  /**
   * The job's record, or `undefined` when no worker has begun it yet.
   *
   * @throws MatcherError `DATABASE_UNAVAILABLE`
   */
  read(jobId: string): Promise<JobRow | undefined>;
  close(): Promise<void>;
}

/**
 * Connects to the tenant's vhost and declares what has to be there.
 *
 * @throws MatcherError `TENANT_NOT_FOUND`, `TENANT_SUSPENDED`, `SERVICE_NOT_CONFIGURED`, `TENANT_MANAGER_UNAVAILABLE`,
 *   `TENANT_MANAGER_REFUSED`, `BROKER_UNAVAILABLE`, `BROKER_REFUSED`.
 */
export async function openJobClient(options: JobClientOptions): Promise<JobClient> {
  const { settings, tenantId, log, listen = true } = options;
  const source = createTenantSource(settings);
  await configOf(source, tenantId);
  const records = openJobRecords(tenantId, source, settings, log);
  const read = (jobId: string) => records.read((db) => readJob(db, jobId));
  const follower = new JobFollower(tenantId, read, log);
  const connection = await openVhost(source, tenantId, {
    ...(listen ? { setup: (model) => follower.listen(model) } : {}),
    name: `matcher client ${tenantId}`,
    log,
  });
  const buffer = new PublishBuffer(connection);
  return {
    tenantId,
    async publish(type, body, { id = randomUUID(), idempotencyKey } = {}) {
      checkJobId(id);
      const content = messageContent(type, body);
      const properties = jobProperties(id, type, tenantId);
      if (idempotencyKey !== undefined) {
        checkIdempotencyKey(idempotencyKey);
        properties.headers = { ...properties.headers, [idempotencyHeader]: idempotencyKey };
      }
      await buffer.publish({
        exchange: jobsExchange,
        routingKey: type,
        content,
        properties: { ...properties, mandatory: true },
      });
      return id;
    },
    follow: (id, following) => follower.follow(id, following) as Promise<JobEnd<never>>,
    read,
    async close() {
      await connection.close();
      await records.close();
    },
  };
}

/**
 * Checks a body before anything is done for its job.
 *
 * @throws MatcherError `BODY_INVALID` (names every field), `BODY_TOO_LARGE`
 */
export function checkBody(type: JobType, body: unknown): void {
  messageContent(type, body);
}

/**
 * The tenant's configuration. In single-tenant mode there is one tenant, and a source that knows no other.
 *
 * @throws MatcherError `TENANT_NOT_FOUND`, and what the source throws.
 */
export async function configOf(source: TenantSource, tenantId: TenantId): Promise<TenantConfig> {
  const config = await source.config(tenantId);
  if (config.tenantId === tenantId) return config;
  throw new MatcherError('TENANT_NOT_FOUND', `There is no tenant ${tenantId} in single-tenant mode`, {
    hint: 'The one tenant is DEFAULT_TENANT_ID; set MULTI_TENANT_ENABLED=true to ask the Tenant Manager.',
  });
}

/** @throws MatcherError `JOB_ID_INVALID` */
export function checkJobId(id: string): void {
  if (jobIdForm.safeParse(id).success) return;
  throw new MatcherError('JOB_ID_INVALID', `${JSON.stringify(id.slice(0, 140))} is no job id`, {
    hint: 'It takes a UUID, or 1 to 128 letters, digits, ".", "_", ":" and "-".',
  });
}

/** @throws MatcherError `IDEMPOTENCY_KEY_INVALID` */
export function checkIdempotencyKey(key: string): void {
  const valid: boolean = isIdempotencyKey(key);
  if (valid) return;
  throw new MatcherError('IDEMPOTENCY_KEY_INVALID', `${JSON.stringify(key.slice(0, 300))} is no idempotency key`, {
    hint: 'It takes 1 to 255 printable ASCII characters without spaces.',
  });
}

/** The body as it was given: the defaults are the worker's to fill in. */
function messageContent(type: JobType, body: unknown): Buffer {
  const parsed = jobBodies[type].safeParse(body);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`);
    throw new MatcherError('BODY_INVALID', `The body is no valid ${type}: ${problems.join('; ')}`, {
      hint: 'Nothing was published.',
    });
  }
  if (!isStorable(parsed.data)) {
    throw new MatcherError('BODY_INVALID', `The body is no valid ${type}: a text in it has a NUL or half a character`, {
      hint: 'Nothing was published.',
    });
  }
  const content = Buffer.from(JSON.stringify(body));
  if (content.length > maxBodyBytes) {
    throw new MatcherError(
      'BODY_TOO_LARGE',
      `The body has ${content.length} bytes, at most ${maxBodyBytes} are taken`,
      { hint: 'Put data into the bucket and name its key.' },
    );
  }
  return content;
}
