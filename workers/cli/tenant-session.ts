import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { configOf, type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import { type JobRecords, openJobRecords } from '@matcher/shared/jobs/records.ts';
import { createS3Client, type TenantObjects, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { openVhost } from '@matcher/shared/rabbitmq/open-vhost.ts';
import type { VhostConnection } from '@matcher/shared/rabbitmq/vhost-connection.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { createTenantSource, type TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { destination } from 'pino';
import { UsageError } from './failures.ts';
import type { Invocation } from './invocation.ts';
import { Jobs } from './jobs.ts';

/** What a command works with: one tenant's jobs, and its part of the bucket. */
export interface TenantSession {
  readonly tenantId: TenantId;
  readonly client: JobClient;
  readonly jobs: Jobs;
}

export interface SessionWithBucket extends TenantSession {
  readonly objects: TenantObjects;
}

/** Runs `work` connected to the tenant's vhost, and disconnects whatever happens. */
export async function withTenant<T>(
  invocation: Invocation,
  tenant: string | undefined,
  work: (session: TenantSession) => Promise<T>,
): Promise<T> {
  const settings = loadSettings('publisher');
  return connected(invocation, settings, tenantOf(settings, tenant), work);
}

/** As {@link withTenant}, for commands that also move files. */
export async function withTenantAndBucket<T>(
  invocation: Invocation,
  tenant: string | undefined,
  work: (session: SessionWithBucket) => Promise<T>,
): Promise<T> {
  const settings = loadSettings('client');
  const tenantId = tenantOf(settings, tenant);
  const s3 = createS3Client(settings);
  const objects = tenantObjects(s3, settings, keySpaceOf(settings, tenantId));
  try {
    return await connected(invocation, settings, tenantId, (session) => work({ ...session, objects }));
  } finally {
    s3.destroy();
  }
}

/** A tenant's job records, for commands that need no broker. */
export interface RecordsSession {
  readonly settings: Settings;
  readonly tenantId: TenantId;
  readonly slug: string;
  readonly source: TenantSource;
  readonly records: JobRecords;
}

/** Runs `work` on the records of the tenant's jobs, and disconnects whatever happens. */
export async function withRecords<T>(
  { signal }: Invocation,
  tenant: string | undefined,
  work: (session: RecordsSession) => Promise<T>,
): Promise<T> {
  const settings = loadSettings('publisher');
  const tenantId = tenantOf(settings, tenant);
  signal.throwIfAborted();
  const source = createTenantSource(settings);
  const { slug } = await configOf(source, tenantId);
  const records = openJobRecords(tenantId, source, settings, quietLog(settings));
  try {
    return await work({ settings, tenantId, slug, source, records });
  } finally {
    await records.close();
  }
}

/** As {@link withRecords}, connected to the tenant's vhost, too. */
export async function withRecordsAndVhost<T>(
  invocation: Invocation,
  tenant: string | undefined,
  work: (session: RecordsSession & { readonly connection: VhostConnection }) => Promise<T>,
): Promise<T> {
  return withRecords(invocation, tenant, async (session) => {
    const { source, tenantId, settings } = session;
    const connection = await openVhost(source, tenantId, { name: `matcher ${tenantId}`, log: quietLog(settings) });
    try {
      return await work({ ...session, connection });
    } finally {
      await connection.close();
    }
  });
}

async function connected<T>(
  { out, signal }: Invocation,
  settings: Settings,
  tenantId: TenantId,
  work: (session: TenantSession) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const client = await openJobClient({ settings, tenantId, log: quietLog(settings) });
  try {
    return await work({ tenantId, client, jobs: new Jobs(client, out, signal) });
  } finally {
    await client.close();
  }
}

/** In single-tenant mode there is only one that can be meant. */
export function tenantOf(settings: Settings, given: string | undefined): TenantId {
  if (given !== undefined) return canonicalTenantId(given);
  if (!settings.MULTI_TENANT_ENABLED) return canonicalTenantId(settings.DEFAULT_TENANT_ID);
  throw new UsageError('USAGE', 'option --tenant ID is required', {
    hint: 'matcher tenant list shows the active ones.',
  });
}

/** A user reads messages, not log lines; whoever sets LOG_LEVEL gets them, on standard error. */
export function quietLog(settings: Settings) {
  const level = process.env.LOG_LEVEL ? settings.LOG_LEVEL : 'silent';
  return createLog({ ENV_NAME: settings.ENV_NAME, LOG_LEVEL: level }, 'matcher', destination(2));
}
