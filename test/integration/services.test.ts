import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { connect } from 'amqplib';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterEach, describe, expect, test } from 'vitest';
import { addressVariables, type Environment } from '../../workers/local/services/environment.ts';
import { accepts } from '../../workers/local/services/ports.ts';
import { familyOf, gone } from '../../workers/local/services/processes.ts';
import { startServices } from '../../workers/local/services/start.ts';

const command = resolve(import.meta.dirname, '../../workers/local/services.ts');
/** Without the addresses of the servers that the other tests use, so that the command starts its own. */
const environmentWithoutAddresses = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !Object.values(addressVariables).includes(name)),
);

let running: ChildProcess | undefined;

afterEach(() => {
  running?.kill('SIGKILL');
});

function startCommand() {
  const child = spawn(process.execPath, [command, '--json'], {
    env: environmentWithoutAddresses,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running = child;
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  const complaints: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line));
  const ready = Promise.race([
    once(createInterface({ input: child.stdout }), 'line').then(([line]) => JSON.parse(line) as Environment),
    ended.then(() => Promise.reject(new Error(`the command ended: ${complaints.join('\n')}`))),
  ]);
  ready.catch(() => {});
  return { pid: child.pid ?? 0, kill: (signal: NodeJS.Signals) => child.kill(signal), ended, ready };
}

async function query<Row extends object>(environment: Environment, statement: string): Promise<Row[]> {
  const client = new pg.Client({
    host: environment.POSTGRES_HOST,
    port: Number(environment.POSTGRES_PORT),
    user: environment.POSTGRES_USER,
    password: environment.POSTGRES_PASSWORD,
    database: environment.POSTGRES_DB,
  });
  await client.connect();
  const { rows } = await client.query<Row>(statement);
  await client.end();
  return rows;
}

const portsOf = (environment: Environment) =>
  [
    environment.POSTGRES_PORT,
    environment.MULTI_TENANT_REDIS_PORT,
    environment.RABBITMQ_PORT,
    new URL(environment.RABBITMQ_MANAGEMENT_URL ?? '').port,
    new URL(environment.OBJECT_STORAGE_ENDPOINT ?? '').port,
  ].map(Number);

/** The folder that holds the servers' folders. With Docker it is inside a container, and nothing on this machine goes away. */
async function dataFolder(environment: Environment): Promise<string> {
  const rows = await query<{ data_directory: string }>(environment, 'SHOW data_directory');
  const folder = rows[0]?.data_directory ?? '';
  return existsSync(folder) ? dirname(dirname(folder)) : folder;
}

async function expectNothingLeft(family: number[], ports: number[], folder: string): Promise<void> {
  expect(await gone(family, 20_000), 'processes are left').toBe(true);
  await expect
    .poll(async () => (await Promise.allSettled(ports.map(accepts))).map(({ status }) => status))
    .toEqual(ports.map(() => 'rejected'));
  await expect.poll(() => existsSync(folder)).toBe(false);
}

test('every server answers, does its work, and ends with Ctrl-C', async () => {
  const services = startCommand();
  const environment = await services.ready;
  const folder = await dataFolder(environment);
  const family = familyOf(services.pid);

  await query(environment, 'CREATE ROLE tenant_role LOGIN');
  await query(environment, 'CREATE DATABASE tenant_database OWNER tenant_role');
  expect(await query(environment, `SELECT current_setting('fsync') AS fsync`)).toEqual([{ fsync: 'on' }]);

  const redis = new Redis({
    host: environment.MULTI_TENANT_REDIS_HOST ?? '',
    port: Number(environment.MULTI_TENANT_REDIS_PORT),
    password: environment.MULTI_TENANT_REDIS_PASSWORD ?? '',
  });
  expect(await redis.ping()).toBe('PONG');
  await redis.quit();

  await exchangeMessage(environment);
  await storeObjects(environment);

  services.kill('SIGINT');
  expect(await services.ended).toEqual([130, null]);
  await expectNothingLeft(family, portsOf(environment), folder);
});

/** A vhost of its own through the management API, and in it a message through a quorum queue. */
async function exchangeMessage(environment: Environment): Promise<void> {
  const user = environment.RABBITMQ_USER ?? '';
  const password = environment.RABBITMQ_PASSWORD ?? '';
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const created = await fetch(`${environment.RABBITMQ_MANAGEMENT_URL}/api/vhosts/some-tenant`, {
    method: 'PUT',
    headers: { authorization },
  });
  expect(created.status).toBe(201);
  const connection = await connect({
    hostname: environment.RABBITMQ_HOST ?? '',
    port: Number(environment.RABBITMQ_PORT),
    username: user,
    password,
    vhost: 'some-tenant',
  });
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('jobs', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  channel.sendToQueue('jobs', Buffer.from('a job'));
  await channel.waitForConfirms();
  const message = await channel.get('jobs', { noAck: true });
  expect(message).toMatchObject({ content: Buffer.from('a job') });
  await connection.close();
}

/** An object in one piece, an object in parts, and a signature that does not fit. */
async function storeObjects(environment: Environment): Promise<void> {
  const settings = {
    endpoint: environment.OBJECT_STORAGE_ENDPOINT ?? '',
    region: environment.OBJECT_STORAGE_REGION ?? '',
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED' as const,
  };
  const accessKeyId = environment.OBJECT_STORAGE_ACCESS_KEY_ID ?? '';
  const secretAccessKey = environment.OBJECT_STORAGE_SECRET_ACCESS_KEY ?? '';
  const client = new S3Client({ ...settings, credentials: { accessKeyId, secretAccessKey } });
  const Bucket = environment.OBJECT_STORAGE_BUCKET ?? '';
  const read = async (Key: string) =>
    Buffer.from((await (await client.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToByteArray()) ?? []);

  await client.send(new PutObjectCommand({ Bucket, Key: 'a tenant/one.csv', Body: 'id;amount\n1;10.00\n' }));
  expect((await read('a tenant/one.csv')).toString()).toBe('id;amount\n1;10.00\n');

  const parts = [Buffer.alloc(5 * 1024 * 1024, 'a'), Buffer.from('the end')];
  const upload = { Bucket, Key: 'parts' };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(upload));
  const Parts = await Promise.all(
    parts.map(async (Body, index) => {
      const PartNumber = index + 1;
      const { ETag } = await client.send(new UploadPartCommand({ ...upload, UploadId, PartNumber, Body }));
      return { ETag, PartNumber };
    }),
  );
  await client.send(new CompleteMultipartUploadCommand({ ...upload, UploadId, MultipartUpload: { Parts } }));
  expect((await read('parts')).equals(Buffer.concat(parts))).toBe(true);
  client.destroy();

  const stranger = new S3Client({ ...settings, credentials: { accessKeyId, secretAccessKey: 'guessed' } });
  await expect(stranger.send(new GetObjectCommand({ Bucket, Key: 'parts' }))).rejects.toThrow();
  stranger.destroy();
}

// Elsewhere there is no telling which processes belong to a command.
describe.skipIf(process.platform !== 'linux')('nothing is left', () => {
  test('when the process that started the services is killed', async () => {
    const services = startCommand();
    const environment = await services.ready;
    const folder = await dataFolder(environment);
    const family = familyOf(services.pid);
    services.kill('SIGKILL');
    await expectNothingLeft(family, portsOf(environment), folder);
  });

  test('when it is interrupted while they start', async () => {
    const services = startCommand();
    // The command, the keeper, and servers of the keeper.
    await expect.poll(() => familyOf(services.pid).length, { timeout: 20_000 }).toBeGreaterThan(4);
    const family = familyOf(services.pid);
    services.kill('SIGINT');
    expect(await services.ended).toEqual([130, null]);
    expect(await gone(family, 1000)).toBe(true);
  });
});

test('addresses in the environment that cannot be used are named, all of them', async () => {
  const started = startServices({
    environment: {
      POSTGRES_HOST: '127.0.0.1',
      POSTGRES_PORT: '1',
      REDIS_HOST: '127.0.0.1:1',
      RABBITMQ_HOST: '127.0.0.1',
      RABBITMQ_PORT: '1',
      RABBITMQ_MANAGEMENT_URL: 'http://127.0.0.1:1',
      OBJECT_STORAGE_ENDPOINT: 'http://127.0.0.1:1',
    },
  });
  const problem = await started.then(
    () => '',
    (error: Error) => error.message,
  );
  for (const variable of Object.values(addressVariables)) expect(problem).toContain(`${variable}=`);
});

test('what the environment gives is used as it is, and nothing is started', async () => {
  const given = await startServices();
  expect(given.source).toBe('environment');
  expect(given.environment).toMatchObject({ POSTGRES_PORT: process.env.POSTGRES_PORT });
  await given.stop();
  await accepts(Number(process.env.POSTGRES_PORT));
});
