import { PassThrough, type Readable } from 'node:stream';
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
import { type KeySpace, prefixIn } from '../tenancy/key-space.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { checkObjectKey } from './object-key.ts';
import { storageFailure } from './storage-failure.ts';

/** Ends the operation, which then throws the signal's reason. */
export interface Abortable {
  signal?: AbortSignal;
}

/**
 * The tenant's part of the bucket. Keys are relative to it, in both directions.
 *
 * Every operation throws a MatcherError `STORAGE_UNAVAILABLE`, not-now, when the storage is away or silent.
 */
export interface TenantObjects {
  put(key: string, body: Buffer | string, options?: Abortable & { contentType?: string }): Promise<void>;
  /**
   * The object as a stream, to be read to its end or destroyed: until then it holds one of the process's connections. It fails as the
   * operations do.
   *
   * @throws MatcherError `OBJECT_NOT_FOUND`
   */
  get(key: string, options?: Abortable): Promise<Readable>;
  /** Size in bytes, or `undefined` when there is no such object. */
  size(key: string, options?: Abortable): Promise<number | undefined>;
  /** Uploads a stream of any length by multipart; nothing of it stays when it fails or is aborted. */
  upload(key: string, body: Readable, options: Abortable & { contentType: string }): Promise<void>;
  list(prefix: string, options?: Abortable): AsyncIterable<string>;
  delete(key: string, options?: Abortable): Promise<void>;
  /** A link that downloads the object as `fileName`, for whoever has it, for EXPORT_PRESIGN_EXPIRY_SEC. */
  presign(key: string, fileName: string): Promise<{ url: string; urlExpiresAt: string }>;
}

/** What the keys of all objects of a tenant begin with in multi-tenant mode. */
export const objectPrefix = (tenantId: TenantId): string => `${tenantId}/`;

const storageVariables = [
  'OBJECT_STORAGE_ENDPOINT',
  'OBJECT_STORAGE_REGION',
  'OBJECT_STORAGE_BUCKET',
  'OBJECT_STORAGE_ACCESS_KEY_ID',
  'OBJECT_STORAGE_SECRET_ACCESS_KEY',
  'OBJECT_STORAGE_USE_PATH_STYLE',
  'EXPORT_PRESIGN_EXPIRY_SEC',
] as const satisfies readonly (keyof Settings)[];

/** Where the storage is and who asks it. */
export type StorageSettings = Pick<Settings, (typeof storageVariables)[number]>;

/** These alone, for whoever must not get the others. */
export function storageSettings(settings: Settings): StorageSettings {
  return Object.fromEntries(storageVariables.map((name) => [name, settings[name]])) as StorageSettings;
}

/** How long (ms) the storage may take to accept a connection, and how long it may be silent on one. */
const patience = { connect: 5000, silence: 30_000 };

export function createS3Client(settings: StorageSettings, { connect, silence } = patience): S3Client {
  const { OBJECT_STORAGE_ACCESS_KEY_ID: accessKeyId, OBJECT_STORAGE_SECRET_ACCESS_KEY: secretAccessKey } = settings;
  return new S3Client({
    region: settings.OBJECT_STORAGE_REGION,
    forcePathStyle: settings.OBJECT_STORAGE_USE_PATH_STYLE,
    // Trailing checksums are an AWS extension that other S3 servers refuse.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // The socket's timeout counts silence, before an answer and within it; the request's would count a whole transfer.
    requestHandler: { connectionTimeout: connect, socketTimeout: silence },
    ...(settings.OBJECT_STORAGE_ENDPOINT ? { endpoint: settings.OBJECT_STORAGE_ENDPOINT } : {}),
    ...(accessKeyId && secretAccessKey ? { credentials: { accessKeyId, secretAccessKey } } : {}),
  });
}

/** @throws MatcherError `TENANT_REQUIRED` */
export function tenantObjects(s3: S3Client, settings: StorageSettings, space: KeySpace): TenantObjects {
  const bucket = settings.OBJECT_STORAGE_BUCKET;
  const prefix = prefixIn(space, objectPrefix);
  const at = (key: string) => ({ Bucket: bucket, Key: prefix + checkObjectKey(key) });

  return {
    async put(key, body, { contentType = 'application/octet-stream', signal } = {}) {
      const command = new PutObjectCommand({ ...at(key), Body: Buffer.from(body), ContentType: contentType });
      await answer(signal, (options) => s3.send(command, options));
    },
    async get(key, { signal } = {}) {
      const command = new GetObjectCommand(at(key));
      try {
        const { Body } = await answer(signal, (options) => s3.send(command, options));
        return download(Body as Readable, signal);
      } catch (error) {
        if (!isNotFound(error)) throw error;
        throw new MatcherError('OBJECT_NOT_FOUND', `There is no object ${JSON.stringify(key)} in the tenant's bucket`, {
          hint: 'Upload the file under that key first; keys are relative to the tenant.',
        });
      }
    },
    async size(key, { signal } = {}) {
      const command = new HeadObjectCommand(at(key));
      try {
        return (await answer(signal, (options) => s3.send(command, options))).ContentLength ?? 0;
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
      // Through the source, because the library's own abort does not wait until the parts are gone, or leaves them.
      const abort = () => void body.destroy(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      try {
        signal?.throwIfAborted();
        await upload.done();
      } catch (error) {
        // The source's own failure is not the storage's, whatever it looks like.
        throw error === body.errored ? error : storageFailure(error, signal);
      } finally {
        signal?.removeEventListener('abort', abort);
        // Whoever writes into it must not wait for a reader that is gone.
        body.destroy();
      }
    },
    async *list(under, { signal } = {}) {
      const Prefix = prefix + checkPrefix(under);
      let ContinuationToken: string | undefined;
      do {
        const command = new ListObjectsV2Command({ Bucket: bucket, Prefix, ContinuationToken });
        const page = await answer(signal, (options) => s3.send(command, options));
        for (const { Key } of page.Contents ?? []) if (Key) yield Key.slice(prefix.length);
        ContinuationToken = page.NextContinuationToken;
      } while (ContinuationToken);
    },
    async delete(key, { signal } = {}) {
      const command = new DeleteObjectCommand(at(key));
      await answer(signal, (options) => s3.send(command, options));
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

/** One request's answer, its failures classed. */
export async function answer<T>(
  signal: AbortSignal | undefined,
  send: (options: { abortSignal?: AbortSignal }) => Promise<T>,
): Promise<T> {
  try {
    return await send(signal ? { abortSignal: signal } : {});
  } catch (error) {
    throw storageFailure(error, signal);
  }
}

/** The body of an answer, its failures classed. They wait for whoever reads it: nobody may be listening yet. */
function download(body: Readable, signal: AbortSignal | undefined): Readable {
  const stream = new PassThrough({
    destroy(error, done) {
      body.destroy();
      done(error);
    },
  });
  stream.on('error', () => {});
  body.on('error', (error) => stream.destroy(storageFailure(error, signal) as Error));
  return body.pipe(stream);
}

function checkPrefix(under: string): string {
  if (under === '') return '';
  checkObjectKey(under.replace(/\/$/, ''));
  return under;
}

function isNotFound(error: unknown): boolean {
  return ['NoSuchKey', 'NotFound'].includes(errorCode(error));
}
