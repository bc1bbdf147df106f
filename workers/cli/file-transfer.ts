import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { errorCode, errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { TenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import type { FileFormat } from './context-file.ts';
import { grouped } from './terminal-text.ts';

const contentTypes: Record<FileFormat, string> = { CSV: 'text/csv', JSON: 'application/json' };

/** What an object key can't hold: see `checkObjectKey`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const notInKeys = /[\\\u0000-\u001f\u007f]/g;

/**
 * Streams a local file into the tenant's part of the bucket, as the file of that job.
 *
 * @returns its key.
 */
export async function uploadFile(
  objects: TenantObjects,
  file: { path: string; format: FileFormat; jobId: string },
  options: { signal: AbortSignal; onProgress(detail: string): void },
): Promise<string> {
  const { signal, onProgress } = options;
  signal.throwIfAborted();
  const key = `uploads/${file.jobId}/${basename(file.path).replace(notInKeys, '_')}`;
  const { size } = await stat(file.path);
  let sent = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sent += chunk.length;
      onProgress(`${percent(sent, size)} of ${grouped(size)} bytes`);
      done(null, chunk);
    },
  });
  const reading = createReadStream(file.path, { highWaterMark: 1024 * 1024 });
  try {
    const contentType = contentTypes[file.format];
    await Promise.all([pipeline(reading, counter, { signal }), objects.upload(key, counter, { contentType, signal })]);
  } catch (error) {
    signal.throwIfAborted();
    throw bucketFailure(`${file.path} could not be uploaded`, error);
  } finally {
    reading.destroy();
    counter.destroy();
  }
  return key;
}

/**
 * Downloads an export to `target`: checked against the SHA-256 of its result, and there as a whole or not at all.
 *
 * @throws MatcherError `EXPORT_DAMAGED`
 */
export async function downloadExport(
  objects: TenantObjects,
  result: JobResult<'export.run'>,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const partial = join(dirname(target), `.${basename(target)}.${randomUUID()}.part`);
  const digest = createHash('sha256');
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      digest.update(chunk);
      done(null, chunk);
    },
  });
  try {
    await pipeline(await objects.get(result.objectKey), hashing, createWriteStream(partial, { flags: 'wx' }), {
      signal,
    });
    if (digest.digest('hex') !== result.sha256) {
      throw new MatcherError(
        'EXPORT_DAMAGED',
        `The download of ${result.fileName} has another SHA-256 than the export`,
        {
          hint: 'Export again; the object in the bucket was changed or cut off.',
        },
      );
    }
    await rename(partial, target);
  } catch (error) {
    signal.throwIfAborted();
    throw bucketFailure(`${result.fileName} could not be downloaded to ${target}`, error);
  } finally {
    await rm(partial, { force: true });
  }
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '100 %' : `${Math.min(100, Math.floor((part / whole) * 100))} %`;
}

function bucketFailure(what: string, error: unknown): MatcherError {
  if (error instanceof MatcherError) return error;
  const [code, message] = [errorCode(error), errorMessage(error)];
  const reason = message.includes(code) ? message : `${message} (${code})`;
  return new MatcherError('TRANSFER_FAILED', `${what}: ${reason}`, {
    hint: 'Check the OBJECT_STORAGE_* variables, the bucket, and the space on the disk.',
    cause: error,
  });
}
