import type { S3Client } from '@aws-sdk/client-s3';
import { type Environment, type ServiceName, splitHostPort } from './environment.ts';

/** Long enough for a server across a network, short enough to tell a wrong address from a slow one. */
const answerWithinMs = 5000;

/**
 * Asks a service, over the protocol that the fleet uses, whether it can be worked with. Rejects with the reason in the
 * server's own words. Creates the bucket when it does not exist yet, and nothing else.
 */
export const checks: Record<ServiceName, (environment: Environment) => Promise<void>> = {
  postgres: async (environment) => {
    const rights = await queryPostgres<{ superuser: boolean; databases: boolean; roles: boolean }>(
      environment,
      `SELECT rolsuper AS superuser, rolcreatedb AS databases, rolcreaterole AS roles
         FROM pg_roles WHERE rolname = current_user`,
    );
    const role = rights[0];
    if (!role?.superuser && !(role?.databases && role.roles)) {
      throw new Error(`role "${environment.POSTGRES_USER}" may not create databases and roles`);
    }
  },
  redis: async (environment) => {
    await infoOfRedis(environment);
    const events = `${environment.MULTI_TENANT_REDIS_HOST}:${environment.MULTI_TENANT_REDIS_PORT}`;
    if (events === environment.REDIS_HOST) return;
    await infoOfRedis({
      REDIS_HOST: events,
      REDIS_PASSWORD: environment.MULTI_TENANT_REDIS_PASSWORD ?? '',
      REDIS_TLS: environment.MULTI_TENANT_REDIS_TLS ?? 'false',
    });
  },
  rabbitmq: async (environment) => {
    await nodeOfRabbitmq(environment);
    const { connect } = await import('amqplib');
    const connection = await connect(
      {
        hostname: environment.RABBITMQ_HOST ?? '',
        port: Number(environment.RABBITMQ_PORT),
        username: environment.RABBITMQ_USER ?? '',
        password: environment.RABBITMQ_PASSWORD ?? '',
        vhost: environment.RABBITMQ_VHOST ?? '/',
      },
      { timeout: answerWithinMs },
    );
    connection.on('error', () => {});
    await connection.close();
  },
  objects: async (environment) => {
    const { CreateBucketCommand, HeadBucketCommand } = await import('@aws-sdk/client-s3');
    const bucket = { Bucket: environment.OBJECT_STORAGE_BUCKET ?? '' };
    const client = await s3Client(environment);
    try {
      await client.send(new HeadBucketCommand(bucket)).catch(async (error: { name?: string }) => {
        if (error.name !== 'NotFound' && error.name !== 'NoSuchBucket') throw error;
        await client.send(new CreateBucketCommand(bucket));
      });
    } finally {
      client.destroy();
    }
  },
};

/** One statement on a connection of its own. */
export async function queryPostgres<Row extends object>(
  environment: Environment,
  statement: string,
  database = environment.POSTGRES_DB,
): Promise<Row[]> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({
    host: environment.POSTGRES_HOST,
    port: Number(environment.POSTGRES_PORT),
    user: environment.POSTGRES_USER,
    password: environment.POSTGRES_PASSWORD,
    database,
    ssl: tlsOf(environment.POSTGRES_SSLMODE ?? 'disable'),
    connectionTimeoutMillis: answerWithinMs,
    query_timeout: answerWithinMs,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query<Row>(statement)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

/** The fields of `INFO server`. */
export async function infoOfRedis(environment: Environment): Promise<Map<string, string>> {
  const { Redis } = await import('ioredis');
  const [host = '', port = '6379'] = splitHostPort(environment.REDIS_HOST ?? '');
  const client = new Redis({
    host,
    port: Number(port),
    ...(environment.REDIS_PASSWORD ? { password: environment.REDIS_PASSWORD } : {}),
    ...(environment.REDIS_TLS === 'true' ? { tls: {} } : {}),
    lazyConnect: true,
    connectTimeout: answerWithinMs,
    commandTimeout: answerWithinMs,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // The rejected command carries the reason only as "Connection is closed"; the event has the server's words.
  let reason: Error | undefined;
  client.on('error', (error: Error) => {
    reason = error;
  });
  try {
    await client.connect();
    const text = await client.info('server');
    return new Map(text.split('\r\n').flatMap((line) => (/^\w+:/.test(line) ? [splitAt(line, ':')] : [])));
  } catch (error) {
    throw reason ?? error;
  } finally {
    client.disconnect();
  }
}

/** The name of the node behind the management API. */
export async function nodeOfRabbitmq(environment: Environment): Promise<string> {
  const credentials = `${environment.RABBITMQ_USER}:${environment.RABBITMQ_PASSWORD}`;
  const url = new URL('/api/overview', environment.RABBITMQ_MANAGEMENT_URL);
  const response = await fetch(url, {
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
    signal: AbortSignal.timeout(answerWithinMs),
  }).catch((error: Error & { cause?: Error }) => {
    throw new Error(`the management API at ${url.origin} does not answer: ${error.cause?.message || error.message}`);
  });
  if (!response.ok) throw new Error(`the management API at ${url.origin} answers ${response.status}`);
  return ((await response.json()) as { node: string }).node;
}

/** Whose buckets the server shows to these credentials. */
export async function ownerOfBuckets(environment: Environment): Promise<string> {
  const { ListBucketsCommand } = await import('@aws-sdk/client-s3');
  const client = await s3Client(environment);
  try {
    return (await client.send(new ListBucketsCommand())).Owner?.ID ?? 'nobody';
  } finally {
    client.destroy();
  }
}

/** The caller destroys the client. */
async function s3Client(environment: Environment): Promise<S3Client> {
  const { S3Client } = await import('@aws-sdk/client-s3');
  return new S3Client({
    endpoint: environment.OBJECT_STORAGE_ENDPOINT ?? '',
    region: environment.OBJECT_STORAGE_REGION ?? '',
    forcePathStyle: environment.OBJECT_STORAGE_USE_PATH_STYLE !== 'false',
    credentials: {
      accessKeyId: environment.OBJECT_STORAGE_ACCESS_KEY_ID ?? '',
      secretAccessKey: environment.OBJECT_STORAGE_SECRET_ACCESS_KEY ?? '',
    },
    // Not every S3 server knows the trailing checksums that the client would send by default.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    maxAttempts: 1,
    requestHandler: { connectionTimeout: answerWithinMs, requestTimeout: answerWithinMs },
  });
}

/** As libpq reads these words: only `verify-…` looks at whose certificate it is. */
function tlsOf(sslMode: string): boolean | { rejectUnauthorized: false } {
  if (sslMode.startsWith('verify-')) return true;
  return sslMode === 'require' ? { rejectUnauthorized: false } : false;
}

function splitAt(line: string, separator: string): [string, string] {
  const at = line.indexOf(separator);
  return [line.slice(0, at), line.slice(at + 1)];
}
