import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, MatcherError } from '@matcher/shared/errors.ts';
import { storageFailure } from '@matcher/shared/objects/storage-failure.ts';
import { objectPrefix, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';

/** An object as a listing or a HEAD shows it; `key` is the whole one. */
export interface StoredObject {
  readonly key: string;
  readonly size: number;
  readonly etag: string;
}

/**
 * - `moved`: it is under the tenant's prefix now, and only there.
 * - `there`: it was there already, with the same content; only the source went.
 * - `gone`: somebody else has moved or deleted it meanwhile.
 */
export type MoveOutcome = 'moved' | 'there' | 'gone';

export interface MoveOptions {
  s3: S3Client;
  settings: Settings;
  tenantId: TenantId;
  /** Looks at everything and changes nothing: the outcome is what would be. */
  dryRun: boolean;
  signal: AbortSignal;
}

/** How S3 servers say that they copy no object of that size, or none at all. */
const copiesNotThis = new Set(['InvalidRequest', 'EntityTooLarge', 'NotImplemented', 'MethodNotAllowed']);

/**
 * Moves one object of single-tenant mode under the tenant's prefix: copies it, compares the copy, and only then deletes the source. It can be
 * stopped at any point, and begun again.
 *
 * @throws MatcherError `OBJECT_CONFLICT`: another object has the target's key; `OBJECT_CHANGED`: the source was written meanwhile;
 *   `COPY_DAMAGED`: the copy has another content. The source is still there after each of them.
 */
export async function moveObject(source: StoredObject, options: MoveOptions): Promise<MoveOutcome> {
  const { s3, settings, tenantId, dryRun, signal } = options;
  const Bucket = settings.OBJECT_STORAGE_BUCKET;
  const target = objectPrefix(tenantId) + source.key;

  async function answer<T>(request: Promise<T>): Promise<T> {
    try {
      return await request;
    } catch (error) {
      throw storageFailure(error, signal);
    }
  }

  const head = async (key: string): Promise<StoredObject | undefined> => {
    try {
      const found = await answer(s3.send(new HeadObjectCommand({ Bucket, Key: key }), { abortSignal: signal }));
      return { key, size: found.ContentLength ?? 0, etag: found.ETag ?? '' };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  };
  const remove = (key: string) =>
    answer(s3.send(new DeleteObjectCommand({ Bucket, Key: key }), { abortSignal: signal }));

  const digest = async ({ key, etag }: StoredObject): Promise<string> => {
    const get = new GetObjectCommand({ Bucket, Key: key, IfMatch: etag });
    const { Body } = await answer(s3.send(get, { abortSignal: signal }));
    const hash = createHash('sha256');
    for await (const chunk of Body as Readable) hash.update(chunk);
    return hash.digest('hex');
  };
  /** An ETag differs for the same content when one was uploaded in parts, or is encrypted. */
  const sameContent = async (one: StoredObject, other: StoredObject): Promise<boolean> => {
    if (one.size !== other.size) return false;
    if (one.etag === other.etag) return true;
    const [first, second] = await answer(Promise.all([digest(one), digest(other)]));
    return first === second;
  };

  /** @returns the copy's ETag, where the server says it. */
  const copy = async (): Promise<string | undefined> => {
    const CopySource = `${Bucket}/${source.key.split('/').map(encodeURIComponent).join('/')}`;
    // Without a condition on the ETag: there are servers that refuse it for what was uploaded in parts. It is looked at afterwards.
    const command = new CopyObjectCommand({ Bucket, Key: target, CopySource });
    try {
      return (await answer(s3.send(command, { abortSignal: signal }))).CopyObjectResult?.ETag;
    } catch (error) {
      if (!copiesNotThis.has(errorCode(error))) throw error;
      await copyThroughHere();
      return undefined;
    }
  };
  const copyThroughHere = async (): Promise<void> => {
    const { ContentType: contentType = 'application/octet-stream' } = await answer(
      s3.send(new HeadObjectCommand({ Bucket, Key: source.key }), { abortSignal: signal }),
    );
    const bare = tenantObjects(s3, settings, keySpaceOf({ MULTI_TENANT_ENABLED: false }, tenantId));
    const body = await bare.get(source.key, { signal });
    await tenantObjects(s3, settings, tenantId).upload(source.key, body, { contentType, signal });
  };

  const sourceNow = async (): Promise<'unchanged' | 'changed' | 'gone'> => {
    const now = await head(source.key);
    if (now === undefined) return 'gone';
    return now.etag === source.etag ? 'unchanged' : 'changed';
  };

  try {
    const there = await head(target);
    if (there) {
      if (!(await sameContent(source, there))) {
        throw new MatcherError('OBJECT_CONFLICT', 'another object has this key under the tenant’s prefix');
      }
      if (dryRun) return 'there';
      if ((await sourceNow()) === 'changed') throw changed();
      await remove(source.key);
      return 'there';
    }
    if (dryRun) return 'moved';
    const written = await copy();
    const copied = written === source.etag ? { ...source, key: target } : await head(target);
    const same = copied !== undefined && (await sameContent(source, copied).catch(unlessChanged));
    const now = await sourceNow();
    if (now === 'gone') return 'moved';
    if (same && now === 'unchanged') {
      await remove(source.key);
      return 'moved';
    }
    // What was copied is nobody's yet: the next run begins with a fresh copy.
    if (copied !== undefined && (await head(target))?.etag === copied.etag) await remove(target);
    if (now === 'changed') throw changed();
    throw new MatcherError('COPY_DAMAGED', 'the copy does not have the content of the object');
  } catch (error) {
    if (isMissing(error) && (await head(source.key)) === undefined) return 'gone';
    if (errorCode(error) === 'PreconditionFailed') throw changed();
    throw error;
  }
}

function unlessChanged(error: unknown): false {
  if (errorCode(error) === 'PreconditionFailed') return false;
  throw error;
}

function changed(): MatcherError {
  return new MatcherError('OBJECT_CHANGED', 'somebody wrote this object while it was moved');
}

function isMissing(error: unknown): boolean {
  return ['NoSuchKey', 'NotFound', 'OBJECT_NOT_FOUND'].includes(errorCode(error));
}
