import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import {
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { createS3Client, type TenantObjects, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

vi.setConfig({ testTimeout: 20_000 });

const mebibyte = 1024 * 1024;

let settings: Settings;
let s3: S3Client;
let bucket: string;
/** One tenant's identifier is the beginning of the other's. */
const a = canonicalTenantId(`t${randomBytes(6).toString('hex')}`);
const ab = canonicalTenantId(`${a}b`);
let ofA: TenantObjects;
let ofAb: TenantObjects;

beforeAll(() => {
  settings = loadSettings('client', { ...process.env, MULTI_TENANT_ENABLED: 'false' });
  s3 = createS3Client(settings);
  bucket = settings.OBJECT_STORAGE_BUCKET as string;
  ofA = tenantObjects(s3, settings, a);
  ofAb = tenantObjects(s3, settings, ab);
});
afterAll(async () => {
  for (const key of await stored(a)) await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
  s3.destroy();
});

/** The full keys in the bucket that begin with `prefix`. */
async function stored(prefix: string): Promise<string[]> {
  const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
  return (Contents ?? []).map(({ Key }) => Key as string);
}

const unfinishedUploads = async (key: string) =>
  (await s3.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: `${a}/${key}` }))).Uploads ?? [];

const read = async (objects: TenantObjects, key: string) => (await buffer(await objects.get(key))).toString();

test('objects lie under the tenant’s prefix in the bucket, and keys are without it in both directions', async () => {
  await ofA.put('uploads/2026/bank.csv', 'x');
  expect(await stored(`${a}/uploads`)).toEqual([`${a}/uploads/2026/bank.csv`]);
  expect(await Array.fromAsync(ofA.list('uploads/'))).toEqual(['uploads/2026/bank.csv']);
  expect(await read(ofA, 'uploads/2026/bank.csv')).toBe('x');
  expect(await ofA.size('uploads/2026/bank.csv')).toBe(1);
  await ofA.delete('uploads/2026/bank.csv');
  expect(await stored(`${a}/uploads`)).toEqual([]);
});

test('a single tenant’s objects have no prefix', async () => {
  const alone = tenantObjects(s3, settings, keySpaceOf(settings, a));
  await alone.put(`${a}/alone.csv`, 'x');
  expect(await stored(`${a}/alone`)).toEqual([`${a}/alone.csv`]);
});

test('a tenant that was forgotten on the way is an error, and not the whole bucket', () => {
  for (const forgotten of [undefined, '', `${a}/`, '..', `${a}/../${ab}`]) {
    expect(() => tenantObjects(s3, settings, forgotten as TenantId)).toThrow(
      expect.objectContaining({ code: 'TENANT_REQUIRED' }),
    );
  }
});

test('what is not there is OBJECT_NOT_FOUND, for good', async () => {
  await expect(ofA.get('nowhere.csv')).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND', remedy: 'permanent' });
  expect(await ofA.size('nowhere.csv')).toBeUndefined();
  await ofA.delete('nowhere.csv');
});

test('a list of more than one page is complete', async () => {
  const paged = createS3Client(settings);
  paged.middlewareStack.add((next) => (args) => next({ ...args, input: { ...args.input, MaxKeys: 2 } }), {
    step: 'initialize',
  });
  const keys = ['many/1', 'many/2', 'many/3', 'many/4', 'many/5'];
  for (const key of keys) await ofA.put(key, '');
  expect(await Array.fromAsync(tenantObjects(paged, settings, a).list('many/'))).toEqual(keys);
  paged.destroy();
});

describe('no key leads to another tenant', () => {
  beforeAll(async () => {
    await ofAb.put('secret.csv', 'of ab');
    await ofA.put('own.csv', 'of a');
  });

  const hostile = [
    `../${ab}/secret.csv`,
    `x/../../${ab}/secret.csv`,
    `/${ab}/secret.csv`,
    `//${ab}/secret.csv`,
    `./../${ab}/secret.csv`,
    `..\\${ab}\\secret.csv`,
    `${ab}/../${ab}/secret.csv`,
    `b/../secret.csv`,
    '',
  ];
  test.each(hostile)('%j is refused by every operation', async (key) => {
    const invalid = expect.objectContaining({ code: 'OBJECT_KEY_INVALID' });
    await expect(ofA.get(key)).rejects.toEqual(invalid);
    await expect(ofA.size(key)).rejects.toEqual(invalid);
    await expect(ofA.put(key, 'x')).rejects.toEqual(invalid);
    await expect(ofA.upload(key, Readable.from(['x']), { contentType: 'text/csv' })).rejects.toEqual(invalid);
    await expect(ofA.delete(key)).rejects.toEqual(invalid);
    await expect(ofA.presign(key, 'x.csv')).rejects.toEqual(invalid);
    if (key !== '') await expect(Array.fromAsync(ofA.list(key))).rejects.toEqual(invalid);
  });

  const literal = [
    `%2e%2e%2f${ab}%2fsecret.csv`,
    `..%2f${ab}/secret.csv`,
    `%2e%2e/${ab}/secret.csv`,
    `..%5c${ab}%5csecret.csv`,
    `..;/${ab}/secret.csv`,
    `．．/${ab}/secret.csv`,
    `?prefix=${ab}`,
    `x?/.../${ab}#`,
    '*',
    'b/secret.csv',
  ];
  test.each(literal)('%j is taken literally, as a key of one’s own', async (key) => {
    expect(await ofA.size(key)).toBeUndefined();
    await ofA.put(key, 'mine');
    expect(await stored(`${a}/`)).toContain(`${a}/${key}`);
    expect(await read(ofA, key)).toBe('mine');
    expect((await fetch((await ofA.presign(key, 'x')).url)).status).toBe(200);
    await ofA.delete(key);
    expect(await read(ofAb, 'secret.csv')).toBe('of ab');
    expect(await stored(`${ab}/`)).toEqual([`${ab}/secret.csv`]);
  });

  test('a tenant whose identifier begins like another’s lists only its own', async () => {
    expect(await Array.fromAsync(ofA.list(''))).not.toContain('secret.csv');
    expect((await Array.fromAsync(ofA.list(''))).every((key) => !key.includes('secret'))).toBe(true);
    expect(await Array.fromAsync(ofAb.list(''))).toEqual(['secret.csv']);
    for (const prefix of ['b', 'b/', '*', `${ab}`]) expect(await Array.fromAsync(ofA.list(prefix))).toEqual([]);
  });
});

describe('an upload', () => {
  test('of more than 20 MB is streamed in parts, arrives whole, and leaves no part behind', async () => {
    const hash = createHash('sha256');
    const pieces = async function* () {
      for (let i = 0; i < 22; i++) {
        const piece = randomBytes(mebibyte + i);
        hash.update(piece);
        yield piece;
      }
    };
    await ofA.upload('big.bin', Readable.from(pieces()), { contentType: 'application/octet-stream' });
    const expected = hash.digest('hex');
    const received = createHash('sha256');
    for await (const chunk of await ofA.get('big.bin')) received.update(chunk);
    expect(received.digest('hex')).toBe(expected);
    expect(await ofA.size('big.bin')).toBe(22 * mebibyte + 231);
    expect(await unfinishedUploads('big.bin')).toEqual([]);
    await ofA.delete('big.bin');
  });

  test('of nothing is an empty object', async () => {
    await ofA.upload('empty.csv', Readable.from([]), { contentType: 'text/csv' });
    expect(await ofA.size('empty.csv')).toBe(0);
    await ofA.delete('empty.csv');
  });

  /** A source that gives `mebibytes`, then does `then`, and never comes to its end by itself. */
  const endless = (mebibytes: number, then: () => void) => {
    let given = 0;
    return new Readable({
      highWaterMark: mebibyte,
      read() {
        if (given++ < mebibytes) this.push(randomBytes(mebibyte));
        else if (given === mebibytes + 1) then();
      },
    });
  };

  test('that is aborted in the middle leaves neither an object nor a part', async () => {
    const abort = new AbortController();
    const body = endless(20, () => abort.abort());
    const upload = ofA.upload('aborted.bin', body, { contentType: 'text/csv', signal: abort.signal });
    await expect(upload).rejects.toMatchObject({ name: 'AbortError' });
    expect(await ofA.size('aborted.bin')).toBeUndefined();
    expect(await unfinishedUploads('aborted.bin')).toEqual([]);
    expect(body.destroyed).toBe(true);
  });

  test('that is aborted before its first part leaves nothing', async () => {
    const abort = new AbortController();
    const upload = ofA.upload(
      'aborted.bin',
      endless(1, () => abort.abort()),
      {
        contentType: 'text/csv',
        signal: abort.signal,
      },
    );
    await expect(upload).rejects.toMatchObject({ name: 'AbortError' });
    expect(await stored(`${a}/aborted`)).toEqual([]);
    expect(await unfinishedUploads('aborted.bin')).toEqual([]);
  });

  test('that was aborted before it began does not begin', async () => {
    const upload = ofA.upload('never.bin', Readable.from(['x']), {
      contentType: 'text/csv',
      signal: AbortSignal.abort(),
    });
    await expect(upload).rejects.toMatchObject({ name: 'AbortError' });
    expect(await stored(`${a}/never`)).toEqual([]);
  });

  test('whose source fails in the middle leaves neither an object nor a part, and says why', async () => {
    const pieces = async function* () {
      for (let i = 0; i < 20; i++) yield randomBytes(mebibyte);
      await setImmediate();
      throw new Error('the database is away');
    };
    const upload = ofA.upload('broken.bin', Readable.from(pieces()), { contentType: 'text/csv' });
    await expect(upload).rejects.toThrow('the database is away');
    expect(await ofA.size('broken.bin')).toBeUndefined();
    expect(await unfinishedUploads('broken.bin')).toEqual([]);
  });
});

describe('a presigned link', () => {
  beforeAll(async () => {
    await ofA.put('exports/e1.csv', 'rows');
    await ofAb.put('exports/e1.csv', 'other rows');
  });

  test('downloads the object under its file name, until it expires', async () => {
    const { url, urlExpiresAt } = await ofA.presign('exports/e1.csv', 'bank-matched-2026-01-31.csv');
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('rows');
    expect(response.headers.get('content-disposition')).toBe('attachment; filename="bank-matched-2026-01-31.csv"');
    expect(new URL(url).searchParams.get('X-Amz-Expires')).toBe('3600');
    expect(Math.abs(Date.parse(urlExpiresAt) - Date.now() - 3_600_000)).toBeLessThan(60_000);
  });

  test('cannot have its file name break out of the header', async () => {
    const { url } = await ofA.presign('exports/e1.csv', 'a"; filename*=x\r\nSet-Cookie: b=ü.csv');
    const response = await fetch(url);
    expect(response.headers.get('content-disposition')).toMatch(/^attachment; filename="[\w.-]+"$/);
    expect(response.headers.get('set-cookie')).toBeNull();
  });

  test.each<[string, string | RegExp, string]>([
    ['of another tenant', `/${a}/`, `/${ab}/`],
    ['of another object', 'e1.csv?', 'e2.csv?'],
    ['with a longer life', 'X-Amz-Expires=3600', 'X-Amz-Expires=604800'],
    ['with another file name', /response-content-disposition=[^&]*/, 'response-content-disposition=inline'],
  ])('is refused when it is made into one %s', async (_what, from, to) => {
    const { url } = await ofA.presign('exports/e1.csv', 'e1.csv');
    expect(url.replace(from, to)).not.toBe(url);
    expect((await fetch(url.replace(from, to))).status).toBe(403);
  });

  test('only reads', async () => {
    const { url } = await ofA.presign('exports/e1.csv', 'e1.csv');
    expect((await fetch(url, { method: 'PUT', body: 'x' })).status).toBe(403);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(403);
    expect(await read(ofA, 'exports/e1.csv')).toBe('rows');
  });
});

test('an object that another client put is read as it is', async () => {
  const body = Buffer.from('\ufeffid;amount\r\n1;2,50\r\n', 'utf8');
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: `${a}/foreign.csv`, Body: body }));
  expect(await buffer(await ofA.get('foreign.csv'))).toEqual(body);
});
