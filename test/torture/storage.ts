import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';

/** An S3 client for the storage that the variables name. */
export function openStorage(environment: Readonly<Record<string, string | undefined>>): S3Client {
  return new S3Client({
    endpoint: environment.OBJECT_STORAGE_ENDPOINT ?? '',
    region: environment.OBJECT_STORAGE_REGION ?? 'us-east-1',
    forcePathStyle: environment.OBJECT_STORAGE_USE_PATH_STYLE !== 'false',
    credentials: {
      accessKeyId: environment.OBJECT_STORAGE_ACCESS_KEY_ID ?? '',
      secretAccessKey: environment.OBJECT_STORAGE_SECRET_ACCESS_KEY ?? '',
    },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: 5000, requestTimeout: 10_000 },
  });
}

export async function createBucket(s3: S3Client, Bucket: string): Promise<void> {
  await s3.send(new CreateBucketCommand({ Bucket }));
}

/** Every key in the bucket, with its length. */
export async function listBucket(s3: S3Client, Bucket: string): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  let ContinuationToken: string | undefined;
  do {
    const page = await s3.send(new ListObjectsV2Command({ Bucket, ContinuationToken }));
    for (const { Key = '', Size = 0 } of page.Contents ?? []) found.set(Key, Size);
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken);
  return found;
}

export async function removeBucket(s3: S3Client, Bucket: string): Promise<void> {
  const keys = [...(await listBucket(s3, Bucket)).keys()];
  for (let i = 0; i < keys.length; i += 16) {
    await Promise.all(keys.slice(i, i + 16).map((Key) => s3.send(new DeleteObjectCommand({ Bucket, Key }))));
  }
  await s3.send(new DeleteBucketCommand({ Bucket }));
}
