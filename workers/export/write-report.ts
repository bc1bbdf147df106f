import { createHash } from 'node:crypto';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { errorCode } from '@matcher/shared/errors.ts';
import type { Job } from '@matcher/shared/jobs/definition.ts';
import type { TenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';

/** Puts what PostgreSQL writes into the bucket, without holding more of it than is on the way. Nothing of it stays when it fails. */
export async function writeReport(
  copy: ReturnType<Transaction['copyOut']>,
  objects: TenantObjects,
  objectKey: string,
  job: Job<'export.run'>,
): Promise<{ rows: number; bytes: number; sha256: string }> {
  const digest = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      digest.update(chunk);
      bytes += chunk.length;
      job.progress({ stage: 'writing', done: bytes, total: null });
      done(null, chunk);
    },
  });
  const [read, written] = await Promise.allSettled([
    pipeline(copy.stream, measure, { signal: job.signal, end: true }),
    objects.upload(objectKey, measure, { contentType: 'text/csv; charset=utf-8', signal: job.signal }),
  ]);
  // A side that fails ends the other, so both have ended. The reader whose writer is gone says no more than that.
  if (read.status === 'rejected' && errorCode(read.reason) !== 'ERR_STREAM_PREMATURE_CLOSE') throw read.reason;
  if (written.status === 'rejected') throw written.reason;
  if (read.status === 'rejected') throw read.reason;
  // COPY counts records, the header is none.
  return { rows: copy.rows(), bytes, sha256: digest.digest('hex') };
}
