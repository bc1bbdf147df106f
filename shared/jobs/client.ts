import { randomUUID } from 'node:crypto';
import type { Settings } from '../config/variables.ts';
import { errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { publishConfirmed } from '../rabbitmq/publish.ts';
import { jobsExchange } from '../rabbitmq/topology.ts';
import { VhostConnection } from '../rabbitmq/vhost-connection.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { createTenantSource } from '../tenancy/tenant-source.ts';
import { type JobBodyInput, jobBodies, jobId as jobIdForm } from './contracts/bodies.ts';
import type { JobType } from './contracts/job-types.ts';
import { type FollowOptions, type JobEnd, JobFollower } from './follow.ts';
import { isStorable, jobProperties, maxBodyBytes } from './message.ts';
import type { JobRow } from './record.ts';
import { openRecordReader } from './record-reader.ts';

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

/** Publishes one tenant's jobs, and follows them. */
export interface JobClient {
  readonly tenantId: TenantId;
  /**
   * Publishes a job: checked against the schema of its body, persistent, and confirmed by the broker when this returns. The
   * same id again is the same job, so a call whose outcome is unknown (`NOT_CONFIRMED`) is simply repeated with it.
   *
   * @param options.id a UUID by default.
   * @returns the job's id.
   * @throws MatcherError `BODY_INVALID` (names every field), `BODY_TOO_LARGE`, `JOB_ID_INVALID`: nothing was published;
   *   `BROKER_UNAVAILABLE`, `UNROUTABLE`, `NOT_CONFIRMED`.
   */
  publish<T extends JobType>(type: T, body: JobBodyInput<T>, options?: { id?: string }): Promise<string>;
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
  const config = await source.config(tenantId);
  if (config.tenantId !== tenantId) {
    throw new MatcherError('TENANT_NOT_FOUND', `There is no tenant ${tenantId} in single-tenant mode`, {
      hint: 'The one tenant is DEFAULT_TENANT_ID; set MULTI_TENANT_ENABLED=true to ask the Tenant Manager.',
    });
  }
  const records = openRecordReader(tenantId, source, settings, log);
  const follower = new JobFollower(tenantId, records.read, log);
  const connection = new VhostConnection({
    target: async () => (await source.config(tenantId)).rabbitmq,
    refused: () => source.forget(tenantId),
    ...(listen ? { setup: (model) => follower.listen(model) } : {}),
    name: `matcher client ${tenantId}`,
    log,
  });
  const close = async () => {
    await connection.close();
    await records.close();
  };
  connection.open();
  try {
    await connection.publishChannel();
  } catch (error) {
    await close();
    throw isRefusal(error) ? refused(error) : error;
  }
  return {
    tenantId,
    async publish(type, body, { id = randomUUID() } = {}) {
      checkId(id);
      const content = messageContent(type, body);
      await publishConfirmed(connection, {
        exchange: jobsExchange,
        routingKey: type,
        content,
        properties: { ...jobProperties(id, type, tenantId), mandatory: true },
      });
      return id;
    },
    follow: (id, following) => follower.follow(id, following) as Promise<JobEnd<never>>,
    read: records.read,
    close,
  };
}

/** Whether the broker was there and said no: to the credentials, or (a close in place of an open) to the vhost. */
function isRefusal(error: unknown): error is MatcherError {
  return error instanceof MatcherError && /ACCESS.REFUSED|ConnectionClose/.test(errorMessage(error.cause));
}

function refused({ cause }: MatcherError): MatcherError {
  return new MatcherError('BROKER_REFUSED', `The tenant’s RabbitMQ refuses the connection (${errorMessage(cause)})`, {
    hint: 'Its user, password or vhost is not what the Tenant Manager, or RABBITMQ_*, says.',
    remedy: 'not-now',
    cause,
  });
}

/**
 * Checks a body before anything is done for its job.
 *
 * @throws MatcherError `BODY_INVALID` (names every field), `BODY_TOO_LARGE`
 */
export function checkBody(type: JobType, body: unknown): void {
  messageContent(type, body);
}

function checkId(id: string): void {
  if (jobIdForm.safeParse(id).success) return;
  throw new MatcherError('JOB_ID_INVALID', `${JSON.stringify(id.slice(0, 140))} is no job id`, {
    hint: 'It takes a UUID, or 1 to 128 letters, digits, ".", "_", ":" and "-".',
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
