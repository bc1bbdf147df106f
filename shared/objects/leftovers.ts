import {
  AbortMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  type S3Client,
} from '@aws-sdk/client-s3';
import type { Settings } from '../config/variables.ts';
import { type KeySpace, prefixIn } from '../tenancy/key-space.ts';
import { checkObjectKey } from './object-key.ts';
import { type Abortable, answer, objectPrefix } from './tenant-objects.ts';

/** An object, and since when it is there. Its key is relative to the tenant. */
export interface StoredObject {
  key: string;
  modifiedAt: Date;
}

/** A multipart upload that was begun, and neither completed nor aborted: its parts are stored, and seen nowhere else. */
export interface UnfinishedUpload {
  key: string;
  uploadId: string;
  startedAt: Date;
}

/**
 * What may be left over in the tenant's part of the bucket, for whoever cleans it. Operations throw what those of TenantObjects do.
 */
export interface Leftovers {
  /** @param folder such as `exports/`. */
  objects(folder: string, options?: Abortable): AsyncIterable<StoredObject>;
  uploads(options?: Abortable): AsyncIterable<UnfinishedUpload>;
  abort(upload: UnfinishedUpload, options?: Abortable): Promise<void>;
}

/** @throws MatcherError `TENANT_REQUIRED` */
export function tenantLeftovers(s3: S3Client, settings: Settings, space: KeySpace): Leftovers {
  const bucket = settings.OBJECT_STORAGE_BUCKET;
  const prefix = prefixIn(space, objectPrefix);
  return {
    async *objects(folder, { signal } = {}) {
      let ContinuationToken: string | undefined;
      do {
        const command = new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix + folder, ContinuationToken });
        const page = await answer(signal, (options) => s3.send(command, options));
        for (const { Key, LastModified } of page.Contents ?? []) {
          if (Key && LastModified) yield { key: Key.slice(prefix.length), modifiedAt: LastModified };
        }
        ContinuationToken = page.NextContinuationToken;
      } while (ContinuationToken);
    },
    async *uploads({ signal } = {}) {
      let marker: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined;
      do {
        const command = new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix, ...marker });
        const page = await answer(signal, (options) => s3.send(command, options));
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          // Not every server keeps to the prefix.
          if (!Key?.startsWith(prefix) || !UploadId || !Initiated) continue;
          yield { key: Key.slice(prefix.length), uploadId: UploadId, startedAt: Initiated };
        }
        marker = page.IsTruncated
          ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
          : undefined;
      } while (marker);
    },
    async abort({ key, uploadId }, { signal } = {}) {
      const Key = prefix + checkObjectKey(key);
      const command = new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId: uploadId });
      await answer(signal, (options) => s3.send(command, options));
    },
  };
}
