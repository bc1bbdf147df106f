import { randomBytes } from 'node:crypto';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createS3Client } from '@matcher/shared/objects/tenant-objects.ts';

/** A bucket of a test's own, seen as it is, without any tenant's prefix. */
export interface TestBucket {
  readonly name: string;
  readonly s3: S3Client;
  put(key: string, content: string | Buffer): Promise<void>;
  text(key: string): Promise<string>;
  /** All keys that begin with `prefix`, sorted. */
  keys(prefix?: string): Promise<string[]>;
  /** Deletes it with all that is in it. */
  remove(): Promise<void>;
}

export async function createBucket(): Promise<TestBucket> {
  const s3 = createS3Client(loadSettings('client', { ...process.env, MULTI_TENANT_ENABLED: 'false' }));
  const Bucket = `test-${randomBytes(6).toString('hex')}`;
  await s3.send(new CreateBucketCommand({ Bucket }));

  async function keys(prefix = ''): Promise<string[]> {
    const found: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const page = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: prefix, ContinuationToken }));
      found.push(...(page.Contents ?? []).map(({ Key = '' }) => Key));
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken);
    return found.sort();
  }

  return {
    name: Bucket,
    s3,
    async put(key, content) {
      await s3.send(new PutObjectCommand({ Bucket, Key: key, Body: Buffer.from(content) }));
    },
    async text(key) {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: key }));
      return (await Body?.transformToString()) ?? '';
    },
    keys,
    async remove() {
      const left = await keys();
      for (let i = 0; i < left.length; i += 16) {
        await Promise.all(left.slice(i, i + 16).map((Key) => s3.send(new DeleteObjectCommand({ Bucket, Key }))));
      }
      await s3.send(new DeleteBucketCommand({ Bucket }));
      s3.destroy();
    },
  };
}
