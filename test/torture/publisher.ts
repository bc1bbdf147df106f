import { setTimeout as delay } from 'node:timers/promises';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { errorCode, errorMessage } from '@matcher/shared/errors.ts';
import { type JobClient, openJobClient } from '@matcher/shared/jobs/client.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { CrashMoment } from './schedule.ts';
import { openStorage } from './storage.ts';
import type { JobType } from './work.ts';

/**
 * A publisher, as a process of its own: gets jobs through its channel, uploads their files, publishes them until they are confirmed, and says so.
 * When it is told to crash, it does so at its next job.
 */

export interface PublishOrder {
  kind: 'publish';
  id: string;
  tenantId: string;
  type: JobType;
  body: Record<string, unknown>;
  twice: boolean;
  object?: { key: string; text: string };
}
export type PublisherOrder = PublishOrder | { kind: 'crash'; moment: CrashMoment };
/** A job without a `refused` is confirmed. */
export interface PublisherReport {
  id: string;
  refused?: string;
}

/** What no repetition makes better. */
const hopeless = ['UNROUTABLE', 'BODY_INVALID', 'BODY_TOO_LARGE', 'JOB_ID_INVALID', 'TENANT_NOT_FOUND'];

/** How long (ms) a message takes to be out of this process, about. */
const sendMs = 3;

const settings = loadSettings('publisher');
const log = createLog(settings, 'publisher');
const s3 = openStorage(process.env);
const clients = new Map<string, Promise<JobClient>>();
let crash: CrashMoment | undefined;

process.on('disconnect', () => process.exit());
process.on('message', (order: PublisherOrder) => {
  if (order.kind === 'crash') crash = order.moment;
  else void publish(order).then((report) => process.send?.(report));
});
log.info('started');

async function publish(order: PublishOrder): Promise<PublisherReport> {
  const { id, object, tenantId, twice } = order;
  if (object) await upload(`${tenantId}/${object.key}`, object.text);
  for (let confirms = 0; confirms < (twice ? 2 : 1); ) {
    try {
      await publishOnce(order);
      confirms++;
    } catch (error) {
      const reason = `${errorCode(error)}: ${errorMessage(error)}`;
      if (hopeless.includes(errorCode(error))) return { id, refused: reason };
      log.info({ jobId: id, reason }, 'publishing again');
      await delay(200);
    }
  }
  return { id };
}

async function publishOnce({ id, tenantId, type, body }: PublishOrder): Promise<void> {
  const client = await clientOf(tenantId);
  const confirmed = client.publish(type, body as never, { id });
  if (crash === 'after publishing') {
    confirmed.catch(() => {});
    // The message is out of the process within a moment; the broker's confirm comes when its disk has it.
    await delay(sendMs);
    process.kill(process.pid, 'SIGKILL');
  }
  await confirmed;
  if (crash === 'after the confirm') process.kill(process.pid, 'SIGKILL');
}

async function clientOf(tenantId: string): Promise<JobClient> {
  const known = clients.get(tenantId);
  if (known) return await known;
  const opening = openJobClient({ settings, tenantId: canonicalTenantId(tenantId), log, listen: false });
  clients.set(tenantId, opening);
  opening.catch(() => clients.delete(tenantId));
  return await opening;
}

async function upload(Key: string, text: string): Promise<void> {
  for (;;) {
    try {
      await s3.send(new PutObjectCommand({ Bucket: settings.OBJECT_STORAGE_BUCKET, Key, Body: Buffer.from(text) }));
      return;
    } catch (error) {
      log.info({ key: Key, reason: errorMessage(error) }, 'uploading again');
      await delay(300);
    }
  }
}
