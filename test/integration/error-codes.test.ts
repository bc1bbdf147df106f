import { randomBytes } from 'node:crypto';
import { HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { errorCode } from '@matcher/shared/errors.ts';
import { createS3Client } from '@matcher/shared/objects/tenant-objects.ts';
import { connect } from 'amqplib';
import { Redis } from 'ioredis';
import { Client, Pool } from 'pg';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { startTcpProxy } from '../support/tcp-proxy.ts';

/** What the servers and their drivers report of what can go wrong has a code that stays the same. */

const settings = loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false' });
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function codeOf(failing: Promise<unknown>): Promise<string> {
  return await failing.then(
    () => 'it went well',
    (error) => errorCode(error),
  );
}

describe('RabbitMQ', () => {
  const server = () => ({
    hostname: settings.RABBITMQ_HOST ?? '',
    port: settings.RABBITMQ_PORT,
    username: settings.RABBITMQ_USER ?? '',
    password: settings.RABBITMQ_PASSWORD ?? '',
    vhost: settings.RABBITMQ_VHOST,
  });
  const open = async () => {
    const connection = await connect(server());
    connection.on('error', () => {});
    closing.push(() => connection.close().catch(() => {}));
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    return { connection, channel };
  };
  const queue = `codes-${randomBytes(6).toString('hex')}`;

  test('says why it closes a channel, and what is asked on a closed one', async () => {
    const missing = (await open()).channel;
    expect(await codeOf(missing.checkQueue(queue))).toBe('BROKER_NOT_FOUND');
    expect(await codeOf((async () => missing.checkQueue(queue))())).toBe('BROKER_CONNECTION_LOST');
    const { channel } = await open();
    await channel.assertQueue(queue, { durable: false, autoDelete: true });
    expect(await codeOf(channel.assertQueue(queue, { durable: true }))).toBe('BROKER_PRECONDITION_FAILED');
    const refused = (await open()).channel;
    expect(await codeOf(refused.deleteExchange('amq.direct'))).toBe('BROKER_ACCESS_REFUSED');
  });

  test('that goes silent or away in the middle', async () => {
    const { hostname, port } = server();
    const proxy = await startTcpProxy(hostname, port);
    closing.push(() => proxy.close());
    const connection = await connect({ ...server(), hostname: '127.0.0.1', port: proxy.port });
    const { promise, resolve } = Promise.withResolvers<unknown>();
    connection.on('error', resolve);
    connection.on('close', resolve);
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    proxy.mode = 'swallow';
    const asked = channel.checkQueue(queue);
    asked.catch(() => {});
    proxy.cut();
    expect(errorCode(await promise)).toBe('BROKER_CONNECTION_LOST');
    expect(await codeOf(asked)).toBe('BROKER_CONNECTION_LOST');
  });
});

describe('Redis', () => {
  const client = (options: object) => {
    const { host, port } = splitAddress(settings.REDIS_HOST ?? '');
    const password = settings.REDIS_PASSWORD ? { password: settings.REDIS_PASSWORD } : {};
    const redis = new Redis({ host, port, ...password, ...options });
    redis.on('error', () => {});
    closing.push(() => redis.disconnect());
    return redis;
  };

  test('names what it refuses', async () => {
    const redis = client({});
    const key = `codes-${randomBytes(6).toString('hex')}`;
    await redis.rpush(key, 'x');
    expect(await codeOf(redis.get(key))).toBe('REDIS_WRONGTYPE');
    expect(await codeOf(redis.call('NOSUCH'))).toBe('REDIS_ERR');
    await redis.del(key);
  });

  test('that is away or silent', async () => {
    expect(await codeOf(client({ port: 1, enableOfflineQueue: false }).get('x'))).toBe('REDIS_UNAVAILABLE');
    expect(await codeOf(client({ port: 1, maxRetriesPerRequest: 1 }).get('x'))).toBe('REDIS_UNAVAILABLE');
    const { host, port } = splitAddress(settings.REDIS_HOST ?? '');
    const proxy = await startTcpProxy(host, port);
    closing.push(() => proxy.close());
    const silent = client({ host: '127.0.0.1', port: proxy.port, commandTimeout: 100 });
    await silent.ping();
    proxy.mode = 'swallow';
    expect(await codeOf(silent.get('x'))).toBe('REDIS_UNAVAILABLE');
    const gone = silent.get('x');
    silent.disconnect();
    expect(await codeOf(gone)).toBe('REDIS_UNAVAILABLE');
  });
});

describe('PostgreSQL', () => {
  const server = () => ({
    host: settings.POSTGRES_HOST ?? '',
    port: settings.POSTGRES_PORT,
    user: settings.POSTGRES_USER ?? '',
    password: settings.POSTGRES_PASSWORD ?? '',
    database: settings.POSTGRES_DB ?? '',
  });

  test('that goes silent or away in the middle, and a pool that was closed', async () => {
    const { host, port } = server();
    const proxy = await startTcpProxy(host, port);
    closing.push(() => proxy.close());
    const reached = { ...server(), host: '127.0.0.1', port: proxy.port };
    const client = new Client({ ...reached, query_timeout: 100 });
    client.on('error', () => {});
    await client.connect();
    proxy.mode = 'swallow';
    expect(await codeOf(client.query('SELECT 1'))).toBe('DATABASE_TIMEOUT');
    expect(await codeOf(new Client({ ...reached, connectionTimeoutMillis: 100 }).connect())).toBe('DATABASE_TIMEOUT');
    const asked = client.query('SELECT 1');
    proxy.cut();
    expect(await codeOf(asked)).toBe('DATABASE_CONNECTION_LOST');
    expect(await codeOf(client.query('SELECT 1'))).toBe('DATABASE_CONNECTION_LOST');
    const pool = new Pool(server());
    await pool.end();
    expect(await codeOf(pool.connect())).toBe('DATABASE_POOL_CLOSED');
  });
});

test('the object storage’s own names are codes; where it says nothing, its status is one', async () => {
  const s3 = createS3Client(settings);
  closing.push(() => s3.destroy());
  const Bucket = `none-${randomBytes(6).toString('hex')}`;
  expect(await codeOf(s3.send(new ListObjectsV2Command({ Bucket })))).toBe('NoSuchBucket');
  expect(await codeOf(s3.send(new HeadObjectCommand({ Bucket, Key: 'x' })))).toMatch(/^(NotFound|NoSuchBucket)$/);
  expect(errorCode({ name: '403', message: 'UnknownError', $metadata: { httpStatusCode: 403 } })).toBe('STORAGE_403');
});

test('data that is not as it should be, and a network that fetch could not cross', async () => {
  expect(errorCode(z.string().safeParse(7).error)).toBe('DATA_INVALID');
  expect(await codeOf(z.string().parseAsync(7))).toBe('DATA_INVALID');
  const proxy = await startTcpProxy('127.0.0.1', 1);
  const nobody = `http://127.0.0.1:${proxy.port}`;
  await proxy.close();
  expect(await codeOf(fetch(nobody))).toBe('ECONNREFUSED');
  expect(errorCode(new TypeError('a bug'))).toBe('TypeError');
  expect(errorCode(new Error('anything'))).toBe('INTERNAL');
});
