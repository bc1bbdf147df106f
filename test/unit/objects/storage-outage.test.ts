import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { createS3Client, type TenantObjects, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, expect, test } from 'vitest';

const patience = { connect: 300, silence: 300 };
const away = { code: 'STORAGE_UNAVAILABLE', remedy: 'not-now' };

let server: Server | undefined;
let s3: S3Client | undefined;
afterEach(() => {
  s3?.destroy();
  server?.closeAllConnections();
  server?.close();
});

/** A storage that answers like that. */
async function storage(answer: RequestListener): Promise<TenantObjects> {
  server = createServer(answer);
  await new Promise<void>((listening) => server?.listen(0, '127.0.0.1', listening));
  return objectsAt((server.address() as AddressInfo).port);
}

function objectsAt(port: number): TenantObjects {
  const settings = {
    OBJECT_STORAGE_REGION: 'us-east-1',
    OBJECT_STORAGE_ENDPOINT: `http://127.0.0.1:${port}`,
    OBJECT_STORAGE_USE_PATH_STYLE: true,
    OBJECT_STORAGE_BUCKET: 'bucket',
    OBJECT_STORAGE_ACCESS_KEY_ID: 'id',
    OBJECT_STORAGE_SECRET_ACCESS_KEY: 'secret',
  } as Settings;
  s3 = createS3Client(settings, patience);
  return tenantObjects(s3, settings, canonicalTenantId('acme'));
}

const operations: [string, (objects: TenantObjects, signal?: AbortSignal) => Promise<unknown>][] = [
  ['get', (objects, signal) => objects.get('x', signal ? { signal } : {})],
  ['put', (objects, signal) => objects.put('x', 'x', signal ? { signal } : {})],
  ['size', (objects, signal) => objects.size('x', signal ? { signal } : {})],
  ['delete', (objects, signal) => objects.delete('x', signal ? { signal } : {})],
  ['list', (objects, signal) => Array.fromAsync(objects.list('', signal ? { signal } : {}))],
  [
    'upload',
    (objects, signal) =>
      objects.upload('x', Readable.from(['x']), { contentType: 'text/csv', ...(signal ? { signal } : {}) }),
  ],
];

test.each(operations)('%s of a storage that is not there is put off', async (_name, run) => {
  await expect(run(objectsAt(1))).rejects.toMatchObject(away);
});

test.each(operations)('%s of a storage that never answers is put off', async (_name, run) => {
  await expect(run(await storage(() => {}))).rejects.toMatchObject(away);
});

test.each(operations)('%s of a storage that fails inside is put off', async (_name, run) => {
  const objects = await storage((request, response) => {
    request.resume();
    response.writeHead(503, { 'content-type': 'text/html' }).end('<html>no server is available</html>');
  });
  await expect(run(objects)).rejects.toMatchObject(away);
});

test.each(operations.slice(0, 5))('%s ends with the signal’s reason', async (_name, run) => {
  const abort = new AbortController();
  const objects = await storage(() => abort.abort(new Error('the claim is lost')));
  await expect(run(objects, abort.signal)).rejects.toThrow('the claim is lost');
});

test.each(operations.slice(0, 5))('%s that is refused keeps the storage’s word for it', async (name, run) => {
  const objects = await storage((request, response) => {
    request.resume();
    response.writeHead(403, { 'content-type': 'application/xml' });
    response.end('<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>');
  });
  // An answer to HEAD has no body to say it in.
  const word = name === 'size' ? {} : { name: 'AccessDenied' };
  await expect(run(objects)).rejects.toMatchObject({ $metadata: { httpStatusCode: 403 }, ...word });
});

test('a download that stands still fails, and is put off', async () => {
  const objects = await storage((_request, response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('begin');
  });
  await expect(buffer(await objects.get('x'))).rejects.toMatchObject(away);
});

test('a download whose connection breaks is put off, even when nobody reads it yet', async () => {
  const objects = await storage((_request, response) => {
    response
      .writeHead(200, { 'content-length': '1000' })
      .write('begin', () => setTimeout(() => response.destroy(), 50));
  });
  await expect(buffer(await objects.get('x'))).rejects.toMatchObject(away);
  const unread = await objects.get('x');
  await delay(200);
  expect(unread.errored).toMatchObject(away);
});

test('a download that is aborted fails with the signal’s reason', async () => {
  const objects = await storage((_request, response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('begin');
  });
  const abort = new AbortController();
  const stream = await objects.get('x', { signal: abort.signal });
  setTimeout(() => abort.abort(new Error('the claim is lost')), 50);
  await expect(buffer(stream)).rejects.toThrow('the claim is lost');
});

test('a download that takes longer than the storage may be silent is not cut while bytes flow', async () => {
  const objects = await storage(async (_request, response) => {
    response.writeHead(200, { 'content-length': '10' });
    for (let i = 0; i < 10; i++) {
      response.write('x');
      await delay(100);
    }
    response.end();
  });
  expect(await buffer(await objects.get('x'))).toHaveLength(10);
});

test('a download that is destroyed unread gives its connection back', async () => {
  const objects = await storage((_request, response) => {
    response.writeHead(200, { 'content-length': '1000000' }).write('begin');
  });
  for (let i = 0; i < 60; i++) (await objects.get('x')).destroy();
  expect((await objects.get('x')).destroy().destroyed).toBe(true);
});

test('an upload whose source fails says why, whatever it looks like', async () => {
  const objects = await storage((request) => void request.resume());
  const source = Readable.from(
    // biome-ignore lint/correctness/useYield: it fails first
    (async function* () {
      throw Object.assign(new Error('the database is away'), { code: 'ECONNRESET' });
    })(),
  );
  await expect(objects.upload('x', source, { contentType: 'text/csv' })).rejects.toThrow('the database is away');
});
