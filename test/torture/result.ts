import { GetObjectCommand } from '@aws-sdk/client-s3';
import { readDatabase, readVhost } from './check/read.ts';
import type { Bucket, ExpectedTenant, TenantState } from './check/state.ts';
import { openDatabase } from './database.ts';
import type { Ledger } from './ledger.ts';
import type { Stage, StageTenant } from './stage.ts';
import { listBucket } from './storage.ts';
import { contexts, type FilePart, isPair, isScheduled, recordsOf } from './work.ts';

/** What the checker compares: what was published, and what is there. */

export function expectationOf({ id, name }: Pick<StageTenant, 'id' | 'name'>, ledger: Ledger): ExpectedTenant {
  return {
    id,
    name,
    schedules: contexts.filter((context) => isScheduled(name, context)),
    jobs: ledger.ofTenant(name).map(({ job, confirmed }) => ({
      id: job.id,
      type: job.type,
      body: job.body,
      confirmed,
      ...(job.file && { file: fileOf(name, job.file) }),
    })),
  };
}

function fileOf(tenant: string, file: FilePart) {
  const records = recordsOf(tenant, file).map((record, i) => ({
    ...record,
    ...(isPair(file.from + i) && { pair: record.ref }),
  }));
  return { context: file.context, source: file.source, records };
}

export async function stateOf(stage: Stage, tenant: StageTenant): Promise<TenantState> {
  const { rabbitmq } = await stage.manager.connections(tenant.id);
  const client = await openDatabase(stage, tenant);
  try {
    return { ...(await readDatabase(client)), ...(await readVhost(rabbitmq)) };
  } finally {
    await client.end();
  }
}

export async function bucketOf({ s3, bucket: Bucket }: Pick<Stage, 's3' | 'bucket'>): Promise<Bucket> {
  return {
    objects: await listBucket(s3, Bucket),
    async read(Key) {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    },
  };
}
