import type { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { Settings } from '../config/variables.ts';
import { errorCode, MatcherError } from '../errors.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { checkObjectKey } from './object-key.ts';

/** The tenant's part of the bucket. Keys are relative to it, in both directions. */
export interface TenantObjects {
  put(key: string, body: Buffer | string, contentType?: string): Promise<void>;
  /** @throws MatcherError `OBJECT_NOT_FOUND` */
  get(key: string): Promise<Readable>;
  /** Size in bytes, or `undefined` when there is no such object. */
  size(key: string): Promise<number | undefined>;
  /** Uploads a stream of any length by multipart; nothing of it stays when it fails or is aborted. */
  upload(key: string, body: Readable, options: { contentType: string; signal?: AbortSignal }): Promise<void>;
  list(prefix: string): AsyncIterable<string>;
  delete(key: string): Promise<void>;
  /** A link that downloads the object as `fileName`, for whoever has it, for EXPORT_PRESIGN_EXPIRY_SEC. */
  presign(key: string, fileName: string): Promise<{ url: string; urlExpiresAt: string }>;
}

export function createS3Client(settings: Settings): S3Client {
  const { OBJECT_STORAGE_ACCESS_KEY_ID: accessKeyId, OBJECT_STORAGE_SECRET_ACCESS_KEY: secretAccessKey } = settings;
  return new S3Client({
    region: settings.OBJECT_STORAGE_REGION,
    forcePathStyle: settings.OBJECT_STORAGE_USE_PATH_STYLE,
    // Trailing checksums are an AWS extension that other S3 servers refuse.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(settings.OBJECT_STORAGE_ENDPOINT ? { endpoint: settings.OBJECT_STORAGE_ENDPOINT } : {}),
    ...(accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  });
}

/** @param tenantId is absent in single-tenant mode, where objects have no prefix. */
export function tenantObjects(s3: S3Client, settings: Settings, tenantId: TenantId | undefined): TenantObjects {
  const bucket = settings.OBJECT_STORAGE_BUCKET;
  const prefix = tenantId === undefined ? '' : `${tenantId}/`;
  const at = (key: string) => ({ Bucket: bucket, Key: prefix + checkObjectKey(key) });

  return {
    async put(key, body, contentType = 'application/octet-stream') {
      await s3.send(new PutObjectCommand({ ...at(key), Body: Buffer.from(body), ContentType: contentType }));
    },
    async get(key) {
      const target = at(key);
      try {
        return (await s3.send(new GetObjectCommand(target))).Body as Readable;
      } catch (error) {
        if (!isNotFound(error)) throw error;
        throw new MatcherError('OBJECT_NOT_FOUND', `There is no object ${JSON.stringify(key)} in the tenant's bucket`, {
          hint: 'Upload the file under that key first; keys are relative to the tenant.',
        });
      }
    },
    async size(key) {
      try {
        return (await s3.send(new HeadObjectCommand(at(key)))).ContentLength ?? 0;
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    async upload(key, body, { contentType, signal }) {
      const upload = new Upload({
        client: s3,
        params: { ...at(key), Body: body, ContentType: contentType },
        partSize: 8 * 1024 * 1024,
        queueSize: 2,
        leavePartsOnError: false,
      });
      const abort = () => void upload.abort();
      signal?.addEventListener('abort', abort, { once: true });
      try {
        await upload.done();
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    },
    async *list(under) {
      let ContinuationToken: string | undefined;
      do {
        const page = await s3.send(
          new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix + checkPrefix(under), ContinuationToken }),
        );
        for (const { Key } of page.Contents ?? []) if (Key) yield Key.slice(prefix.length);
        ContinuationToken = page.NextContinuationToken;
      } while (ContinuationToken);
    },
    async delete(key) {
      await s3.send(new DeleteObjectCommand(at(key)));
    },
    async presign(key, fileName) {
      const expiresIn = settings.EXPORT_PRESIGN_EXPIRY_SEC;
      const urlExpiresAt = new Date(Date.now() + expiresIn * 1000).toISOString();
      const ResponseContentDisposition = `attachment; filename="${fileName.replaceAll(/[^\w.-]/g, '_')}"`;
      const url = await getSignedUrl(s3, new GetObjectCommand({ ...at(key), ResponseContentDisposition }), {
        expiresIn,
      });
      return { url, urlExpiresAt };
    },
  };
}

function checkPrefix(under: string): string {
  if (under === '') return '';
  checkObjectKey(under.replace(/\/$/, ''));
  return under;
}

function isNotFound(error: unknown): boolean {
  return ['NoSuchKey', 'NotFound'].includes(errorCode(error));
}
