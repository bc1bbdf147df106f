import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { CopyObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { createS3Client, tenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import { keySpaceOf } from '@matcher/shared/tenancy/key-space.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Interrupted } from '../../workers/cli/failures.ts';
import { createBucket, type TestBucket } from '../support/bucket.ts';
import { newTenantId } from '../support/databases.ts';
import { until } from '../support/fleet.ts';
import { matcher } from '../support/matcher.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { type Fixture, startFixture } from '../support/tenant-manager.ts';

// The tests' S3 server is slow on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

const script = resolve(import.meta.dirname, '../../workers/cli/matcher.ts');
const mebibyte = 1024 * 1024;

let manager: Fixture;
let tenant: TenantId;
/** An active tenant whose identifier is no UUID. */
let named: TenantId;
let bucket: TestBucket;

beforeAll(async () => {
  manager = await startFixture();
  const [one, other] = await Promise.all([
    manager.onboard(),
    manager.onboard(`Blue_Harbour-${randomBytes(4).toString('hex')}`),
  ]);
  [tenant, named] = [one.tenantId, other.tenantId];
});
afterAll(() => manager.close());
beforeEach(async () => {
  bucket = await createBucket();
  vi.stubEnv('OBJECT_STORAGE_BUCKET', bucket.name);
  vi.stubEnv('MULTI_TENANT_ENABLED', 'false');
  vi.stubEnv('MULTI_TENANT_URL', manager.address);
  vi.stubEnv('MULTI_TENANT_SERVICE_API_KEY', manager.settings.MULTI_TENANT_SERVICE_API_KEY);
  vi.stubEnv('MULTI_TENANT_ENVIRONMENT', manager.settings.MULTI_TENANT_ENVIRONMENT);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await bucket.remove();
});

const args = (...more: string[]) => ['objects', 'migrate', '--tenant', tenant, ...more];

/** The document of a run that leaves nothing behind. */
async function migrate(...more: string[]) {
  const { status, stdout, stderr } = await matcher([...args(...more), '--json']);
  expect([status, stderr.includes('matcher:')], stdout + stderr).toEqual([0, false]);
  return JSON.parse(stdout);
}

const settings = () => loadSettings('client', { ...process.env, MULTI_TENANT_ENABLED: 'true' });

const before = {
  'uploads/2026-01/bank statement (final).csv': 'a,b',
  'uploads/Übersicht+%2e%2e/😀.csv': 'name',
  'exports/bank/e1.csv': 'rows',
  'at-the-top.csv': 'top',
  'empty.csv': '',
};

async function fill(objects: Record<string, string>): Promise<void> {
  await Promise.all(Object.entries(objects).map(([key, content]) => bucket.put(key, content)));
}

test('what single-tenant mode wrote is under the tenant’s prefix afterwards, with its content, and nowhere else', async () => {
  await fill(before);
  expect(await migrate()).toMatchObject({ tenantId: tenant, dryRun: false, moved: { objects: 5, bytes: 14 } });
  expect(await bucket.keys()).toEqual(
    Object.keys(before)
      .map((key) => `${tenant}/${key}`)
      .sort(),
  );
  for (const [key, content] of Object.entries(before)) expect(await bucket.text(`${tenant}/${key}`)).toBe(content);
});

test('a key that a job kept from before the switch works after it: read, listed and presigned', async () => {
  const client = createS3Client(settings());
  const alone = tenantObjects(client, settings(), keySpaceOf({ MULTI_TENANT_ENABLED: false }, tenant));
  await alone.upload('exports/bank/e1.csv', Readable.from(['rows']), { contentType: 'text/csv; charset=utf-8' });
  await migrate();
  const switched = tenantObjects(client, settings(), keySpaceOf({ MULTI_TENANT_ENABLED: true }, tenant));
  expect(String(await buffer(await switched.get('exports/bank/e1.csv')))).toBe('rows');
  expect(await Array.fromAsync(switched.list(''))).toEqual(['exports/bank/e1.csv']);
  const response = await fetch((await switched.presign('exports/bank/e1.csv', 'e1.csv')).url);
  expect([response.status, await response.text()]).toEqual([200, 'rows']);
  expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8');
  client.destroy();
});

test('a dry run says what would be moved, and changes nothing', async () => {
  await fill({ ...before, [`${tenant}/empty.csv`]: '', [`${tenant}/at-the-top.csv`]: 'another' });
  const keys = await bucket.keys();
  const { status, stdout } = await matcher([...args('--dry-run'), '--json']);
  expect([status, JSON.parse(stdout)]).toMatchObject([
    1,
    { error: { code: 'OBJECTS_LEFT', done: { dryRun: true, moved: { objects: 3 }, alreadyThere: { objects: 1 } } } },
  ]);
  expect(await bucket.keys()).toEqual(keys);
});

test('repeated, it has nothing to do', async () => {
  await fill(before);
  await migrate();
  expect(await migrate()).toMatchObject({ moved: { objects: 0 }, alreadyThere: { objects: 0 }, tenantFolders: 1 });
});

describe('what belongs to a tenant, or might, is not touched:', () => {
  test('tenants’ folders, by their identifiers in every spelling, known to the Tenant Manager or not', async () => {
    const gone = newTenantId();
    const others = [named, gone, randomUUID(), randomUUID().toUpperCase()].map((id) => `${id}/uploads/bank.csv`);
    await fill(Object.fromEntries([...others, 'uploads/bank.csv'].map((key) => [key, 'x'])));
    expect(await migrate()).toMatchObject({ moved: { objects: 1 }, tenantFolders: 4, undecidedFolders: [] });
    expect(await bucket.keys()).toEqual([...others, `${tenant}/uploads/bank.csv`].sort());
  });

  test.each(['statements/', 'no identifier/', '.backups/', 'Üb%25+/'])(
    'a folder that is not the product’s own (%s), be it of a tenant who is gone or of another program, until it is named',
    async (folder) => {
      await fill({ [`${folder}bank.csv`]: 'x', 'uploads/bank.csv': 'x' });
      const { stdout } = await matcher(args('--dry-run'));
      expect(stdout).toContain(
        `may be a tenant’s, or another program’s; --folder NAME moves one that is not:\n  ${folder}`,
      );
      expect(await migrate()).toMatchObject({ moved: { objects: 1 }, undecidedFolders: [folder] });
      expect(await bucket.keys(folder)).toEqual([`${folder}bank.csv`]);
      expect(await migrate('--folder', folder)).toMatchObject({ moved: { objects: 1 }, undecidedFolders: [] });
      expect(await bucket.keys(`${tenant}/${folder}`)).toHaveLength(1);
    },
  );

  test('a tenant’s folder, when it is named by mistake', async () => {
    await fill({ [`${named}/bank.csv`]: 'of another' });
    const { status, stderr } = await matcher(args('--folder', named));
    expect([status, stderr]).toEqual([2, expect.stringContaining('[FOLDER_IS_A_TENANT]')]);
    expect(await bucket.keys()).toEqual([`${named}/bank.csv`]);
  });

  test('a suspended tenant’s folder, when it is named by mistake', async () => {
    const suspended = (await manager.onboard(`Suspended-${randomBytes(4).toString('hex')}`)).tenantId;
    await manager.call('PUT', `/v1/tenants/${suspended}/associations/matcher/suspend`);
    await fill({ [`${suspended}/bank.csv`]: 'of another' });
    expect(await migrate()).toMatchObject({ moved: { objects: 0 }, undecidedFolders: [`${suspended}/`] });
    const { status, stderr } = await matcher(args('--folder', suspended));
    expect([status, stderr]).toEqual([2, expect.stringContaining('[FOLDER_IS_A_TENANT]')]);
  });

  test('keys that no job can name are reported and stay', async () => {
    const outside = ['../secret.csv', '/absolute.csv'];
    const foreign = [
      'uploads//twice.csv',
      'uploads/./dot.csv',
      'uploads/..',
      'uploads/folder/',
      'uploads/back\\slash.csv',
      'uploads/line\nend.csv',
    ];
    await fill(Object.fromEntries([...outside, ...foreign, 'uploads/bank.csv'].map((key) => [key, 'x'])));
    const { moved, foreignKeys, undecidedFolders } = await migrate();
    expect([moved.objects, foreignKeys.count, foreignKeys.keys.toSorted()]).toEqual([1, 6, foreign.toSorted()]);
    expect(undecidedFolders).toEqual(['../', '/']);
    expect(await bucket.keys()).toEqual([...outside, ...foreign, `${tenant}/uploads/bank.csv`].sort());
  });
});

test.each<[string, () => Promise<string>]>([
  ['that the Tenant Manager does not know', async () => newTenantId()],
  [
    'that is suspended',
    async () => {
      const { tenantId } = await manager.onboard();
      await manager.call('PUT', `/v1/tenants/${tenantId}/associations/matcher/suspend`);
      return tenantId;
    },
  ],
])('a tenant %s is refused, and nothing is moved', async (_what, id) => {
  await fill(before);
  const { status, stderr } = await matcher(['objects', 'migrate', '--tenant', await id()]);
  expect([status, stderr]).toEqual([1, expect.stringMatching(/\[TENANT_(NOT_FOUND|SUSPENDED)\]/)]);
  expect(await bucket.keys()).toEqual(Object.keys(before).sort());
});

test('two objects with one key: both stay, it says so, and the others are moved', async () => {
  await fill({ ...before, [`${tenant}/exports/bank/e1.csv`]: 'ROWS' });
  const plain = await matcher(args());
  expect(plain).toMatchObject({ status: 1, stdout: expect.stringMatching(/^moved +4 +10$/m) });
  expect(plain.stderr).toContain('exports/bank/e1.csv: another object has this key under the tenant’s prefix');
  expect(await bucket.text('exports/bank/e1.csv')).toBe('rows');
  expect(await bucket.text(`${tenant}/exports/bank/e1.csv`)).toBe('ROWS');
  const again = await matcher([...args(), '--json']);
  expect(JSON.parse(again.stdout)).toMatchObject({
    error: { problems: [{ key: 'exports/bank/e1.csv', code: 'OBJECT_CONFLICT' }], done: { moved: { objects: 0 } } },
  });
});

/** Runs the command with the storage's requests going through `intercept` first. */
async function intercepted(
  intercept: (request: { name: string; input: Record<string, unknown> }) => Promise<void>,
  interrupted = new AbortController().signal,
) {
  const storage = await import('@aws-sdk/client-s3');
  const send = storage.S3Client.prototype.send;
  const spy = vi.spyOn(storage.S3Client.prototype, 'send').mockImplementation(async function (
    this: typeof bucket.s3,
    command: unknown,
    options: unknown,
  ) {
    const { constructor: kind, input } = command as { constructor: { name: string }; input: Record<string, unknown> };
    if (this !== bucket.s3) await intercept({ name: kind.name, input });
    return await Reflect.apply(send, this, [command, options]);
  } as never);
  const run = await matcher([...args(), '--json'], { interrupted });
  spy.mockRestore();
  return { ...run, document: JSON.parse(run.stdout) };
}

describe('an object that is written while it is moved', () => {
  test.each(['CopyObjectCommand', 'DeleteObjectCommand'])(
    'just before its %s: the newer content is not lost, and the next run moves it',
    async (step) => {
      await fill({ 'uploads/bank.csv': 'first' });
      let written = false;
      const { status, document } = await intercepted(async ({ name }) => {
        // Before the delete, the last look at the source comes.
        const now = step === 'CopyObjectCommand' ? name === step : name === 'HeadObjectCommand' && copied;
        if (name === 'CopyObjectCommand') copied = true;
        if (!now || written) return;
        written = true;
        await bucket.put('uploads/bank.csv', 'newer');
      });
      expect([written, status, document.error.problems]).toMatchObject([true, 1, [{ code: 'OBJECT_CHANGED' }]]);
      expect(await bucket.keys()).toEqual(['uploads/bank.csv']);
      expect(await migrate()).toMatchObject({ moved: { objects: 1 } });
      expect(await bucket.text(`${tenant}/uploads/bank.csv`)).toBe('newer');
    },
  );
  let copied = false;
  beforeEach(() => {
    copied = false;
  });

  test('or deleted by somebody else: it is not counted, and not an error', async () => {
    await fill({ 'uploads/bank.csv': 'first', 'uploads/other.csv': 'x' });
    const { status, document } = await intercepted(async ({ name, input }) => {
      if (name !== 'CopyObjectCommand' || !String(input.Key).endsWith('bank.csv')) return;
      await bucket.s3.send(
        new CopyObjectCommand({ Bucket: bucket.name, Key: 'x', CopySource: `${bucket.name}/uploads/bank.csv` }),
      );
      const { DeleteObjectCommand } = await import('@aws-sdk/client-s3');
      await bucket.s3.send(new DeleteObjectCommand({ Bucket: bucket.name, Key: 'uploads/bank.csv' }));
    });
    expect([status, document]).toMatchObject([0, { moved: { objects: 1 } }]);
  });
});

test('a copy that has not the content of its object costs nothing: the source stays, the copy goes', async () => {
  const another = `${newTenantId()}/bank.csv`;
  await fill({ 'uploads/bank.csv': 'content', [another]: 'CONTENT' });
  const { status, document } = await intercepted(async ({ name, input }) => {
    if (name === 'CopyObjectCommand') input.CopySource = `${bucket.name}/${another}`;
  });
  expect([status, document.error.problems]).toMatchObject([1, [{ code: 'COPY_DAMAGED' }]]);
  expect(await bucket.keys()).toEqual([another, 'uploads/bank.csv'].sort());
});

describe('a large object', () => {
  const content = randomBytes(18 * mebibyte);
  beforeEach(async () => {
    const client = createS3Client(settings());
    const alone = tenantObjects(client, settings(), keySpaceOf({ MULTI_TENANT_ENABLED: false }, tenant));
    await alone.upload('uploads/big.csv', Readable.from([content]), { contentType: 'text/csv' });
    client.destroy();
  });

  test('that was uploaded in parts is moved whole', async () => {
    expect(await migrate()).toMatchObject({ moved: { objects: 1, bytes: content.length } });
    expect(await bucket.keys()).toEqual([`${tenant}/uploads/big.csv`]);
  });

  test('that the storage does not copy by itself goes through the command, whole and with its content type', async () => {
    const { status, document } = await intercepted(async ({ name }) => {
      // What S3 says about an object of more than 5 GiB.
      if (name === 'CopyObjectCommand') throw Object.assign(new Error('too large'), { name: 'InvalidRequest' });
    });
    expect([status, document]).toMatchObject([0, { moved: { objects: 1, bytes: content.length } }]);
    expect(await bucket.keys()).toEqual([`${tenant}/uploads/big.csv`]);
    const client = createS3Client(settings());
    expect((await buffer(await tenantObjects(client, settings(), tenant).get('uploads/big.csv'))).equals(content)).toBe(
      true,
    );
    const { url } = await tenantObjects(client, settings(), tenant).presign('uploads/big.csv', 'big.csv');
    expect((await fetch(url, { headers: { range: 'bytes=0-0' } })).headers.get('content-type')).toBe('text/csv');
    client.destroy();
  });

  test('whose copy is there with another ETag but the same content is the same object', async () => {
    await bucket.s3.send(
      new PutObjectCommand({ Bucket: bucket.name, Key: `${tenant}/uploads/big.csv`, Body: content }),
    );
    expect(await migrate()).toMatchObject({ moved: { objects: 0 }, alreadyThere: { objects: 1 } });
    expect(await bucket.keys()).toEqual([`${tenant}/uploads/big.csv`]);
  });
});

describe('more objects than one page of a list has', () => {
  const keys = Array.from({ length: 40 }, (_, i) => `uploads/${String(i).padStart(5, '0')}.csv`);
  beforeEach(() => fill(Object.fromEntries(keys.map((key) => [key, key]))));

  const inSmallPages = async ({ name, input }: { name: string; input: Record<string, unknown> }) => {
    if (name === 'ListObjectsV2Command') input.MaxKeys = 7;
  };

  test('are all moved, though the list gets shorter while it is read', async () => {
    const { status, document } = await intercepted(inSmallPages);
    expect([status, document]).toMatchObject([0, { moved: { objects: 40 } }]);
    expect(await bucket.keys()).toEqual(keys.map((key) => `${tenant}/${key}`));
    expect(await bucket.text(`${tenant}/${keys.at(-1)}`)).toBe(keys.at(-1));
  });

  test('take four requests each, and many are under way at the same time', async () => {
    const requests: string[] = [];
    let [now, most] = [0, 0];
    const { status } = await intercepted(async ({ name }) => {
      requests.push(name);
      if (name === 'CopyObjectCommand') most = Math.max(most, ++now);
      if (name === 'DeleteObjectCommand') now--;
    });
    expect([status, requests.length]).toEqual([0, expect.toSatisfy((count) => count <= 4 * keys.length + 5)]);
    expect(most).toBeGreaterThan(5);
  });

  test('stopped by Ctrl-C in the middle: each is at one of the two places at least, and the next run continues', async () => {
    const interrupt = new AbortController();
    let copies = 0;
    const { status, document } = await intercepted(async (request) => {
      await inSmallPages(request);
      if (request.name === 'CopyObjectCommand' && ++copies === 20) interrupt.abort(new Interrupted());
    }, interrupt.signal);
    expect([status, document]).toMatchObject([
      130,
      { error: { code: 'INTERRUPTED', hint: 'The same command continues.' } },
    ]);
    const [left, moved] = [await bucket.keys('uploads/'), await bucket.keys(`${tenant}/`)];
    expect(left.length).toBeGreaterThan(0);
    expect(moved.length).toBeGreaterThan(0);
    expect(new Set([...left, ...moved.map((key) => key.slice(tenant.length + 1))]).size).toBe(40);

    const rest = await migrate();
    // Deletions that were under way when it was stopped may still have happened.
    expect(rest.moved.objects + rest.alreadyThere.objects).toBeLessThanOrEqual(left.length);
    expect(await bucket.keys()).toEqual(keys.map((key) => `${tenant}/${key}`));
  });

  test('a process that is killed in the middle loses nothing, and the next run completes its work', async () => {
    const { hostname, port } = new URL(process.env.OBJECT_STORAGE_ENDPOINT as string);
    const storage = await startTcpProxy(hostname, Number(port));
    storage.delay = 100;
    const child = spawn(process.execPath, [script, ...args()], {
      env: { ...process.env, OBJECT_STORAGE_ENDPOINT: `http://127.0.0.1:${storage.port}` },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const ended = once(child, 'exit');
    await until(async () => (await bucket.keys(`${tenant}/`)).length > 0);
    child.kill('SIGKILL');
    expect(await ended).toEqual([null, 'SIGKILL']);
    await storage.close();
    const rest = await migrate();
    expect(rest.moved.objects + rest.alreadyThere.objects).toBeGreaterThan(0);
    expect(await bucket.keys()).toEqual(keys.map((key) => `${tenant}/${key}`));
  });
});
