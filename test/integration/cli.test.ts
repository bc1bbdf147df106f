import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { matcher } from '../support/matcher.ts';

const script = resolve(import.meta.dirname, '../../workers/cli/matcher.ts');
const before = process.cwd();

/** Stands for every server that the configuration names, and counts who comes. */
let server: Server;
let connections = 0;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'matcher-cli-'));
  process.chdir(folder);
  server = createServer((socket) => {
    connections++;
    socket.on('error', () => {});
    socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  await writeFile('ledger.csv', 'id\n1\n');
  await writeFile('invalid.yaml', 'version: 1\nname: 7\ntype: "1:1"\nsources: []\nrules: []\n');
});
afterAll(async () => {
  server.close();
  process.chdir(before);
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  connections = 0;
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  vi.stubEnv('MULTI_TENANT_ENABLED', 'true');
  vi.stubEnv('MULTI_TENANT_URL', address);
  vi.stubEnv('MULTI_TENANT_SERVICE_API_KEY', 'key');
  vi.stubEnv('OBJECT_STORAGE_ENDPOINT', address);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const tenant = ['--tenant', 'acme'];
const context = ['--context', 'bank'];

describe('a command line that is not understood: status 2, one message, and nothing was connected to', () => {
  test.each([
    ['no command', [], 'a command is missing'],
    ['an unknown command', ['recncile', 'a.yaml'], "unknown command 'recncile'"],
    ['an unknown command of a group', ['tenant', 'destroy'], "unknown command 'destroy'"],
    [
      'an unknown flag, which a missing one does not hide',
      ['match', ...tenant, '--contxt', 'bank'],
      "unknown option '--contxt'",
    ],
    ['a missing flag', ['ingest', 'ledger.csv', ...tenant], 'ingest needs --context <name>, --source <name>'],
    ['no tenant', ['match', ...context], '--tenant ID is required'],
    ['what is no tenant', ['match', ...context, '--tenant', '../acme'], '"../acme" is not a tenant identifier'],
    ['what is no context name', ['match', ...tenant, '--context', 'My Bank'], 'context: a context name takes'],
    ['an unknown report', ['export', ...tenant, ...context, '--report', 'ALL'], 'Allowed choices are MATCHED'],
    ['objects for nobody', ['objects', 'migrate'], 'migrate needs --tenant <id>'],
    [
      'a folder that is a path',
      ['objects', 'migrate', ...tenant, '--folder', 'a/b'],
      '--folder takes the name of a folder',
    ],
    ['too many arguments', ['tenant', 'list', 'all'], 'too many arguments'],
    ['what is no email address', ['tenant', 'create', 'Acme', '--email', 'nobody'], 'It takes an email address'],
    [
      'an identifier that is none',
      ['tenant', 'create', 'Acme', '--email', 'ops@acme.example', '--id', '../acme'],
      '"../acme" is not a tenant identifier',
    ],
    [
      'an unknown isolation',
      ['tenant', 'create', 'Acme', '--email', 'ops@acme.example', '--isolation', 'shared'],
      'Allowed choices are isolated, schema',
    ],
    ['no limit', ['tenant', 'limits', 'acme'], 'limits needs --max-open-conns'],
    ['a time that is none', ['tenant', 'limits', 'acme', '--statement-timeout', 'soon'], 'it takes a time'],
    ['a timeout that is no number', ['match', ...tenant, ...context, '--timeout', 'soon'], 'whole number'],
    [
      'a file that does not exist',
      ['ingest', 'none.csv', ...tenant, ...context, '--source', 's'],
      'none.csv does not exist',
    ],
    ['a file whose format is unknown', ['ingest', 'none.xls', ...tenant, ...context, '--source', 's'], 'add --format'],
    ['a state that is none', ['jobs', 'list', ...tenant, '--state', 'DONE'], 'Allowed choices are WAITING'],
    ['a job type that is none', ['jobs', 'list', ...tenant, '--type', 'job'], 'Allowed choices are context.apply'],
    ['a time that is no duration', ['jobs', 'list', ...tenant, '--since', 'yesterday'], 'a time such as 90s'],
    ['what can be no job', ['cancel', 'no job', ...tenant], '"no job" is no job id'],
    ['nobody’s dead letters', ['dead', 'drop', '--yes'], '--tenant ID is required'],
    [
      'an idempotency key with a space',
      ['match', ...tenant, ...context, '--idempotency-key', 'run of july'],
      '1 to 255 printable ASCII characters',
    ],
    ['neither file nor key', ['ingest', ...tenant, ...context, '--source', 's'], 'a FILE or --object-key KEY'],
    [
      'a key that leads out of the tenant’s part',
      ['ingest', '--object-key', '../b.csv', ...tenant, ...context, '--source', 's'],
      'object key',
    ],
    [
      'a context file that does not exist',
      ['reconcile', 'none.yaml', ...tenant],
      'none.yaml: the context file does not exist',
    ],
    [
      'an invalid context file',
      ['reconcile', 'invalid.yaml', ...tenant],
      'invalid.yaml:2: name: takes a text; got the number 7',
    ],
    [
      'an invalid context file, to be applied',
      ['context', 'apply', 'invalid.yaml', ...tenant],
      'invalid.yaml:4: sources: takes at least 2 entries',
    ],
    [
      'an output that is a folder',
      ['export', ...tenant, ...context, '--report', 'MATCHED', '--output', '.'],
      '--output: . is a folder',
    ],
  ])('%s', async (_what, args, message) => {
    const [plain, json] = [await matcher(args), await matcher([...args, '--json'])];
    expect(plain.stderr).toContain(message);
    expect(plain).toMatchObject({ status: 2, stdout: '' });
    // One message, no stack.
    expect(plain.stderr).not.toMatch(/\n\s+at /);
    expect(json.status).toBe(2);
    expect(JSON.parse(json.stdout)).toEqual({
      error: expect.objectContaining({ message: expect.stringContaining(message) }),
    });
    expect(connections).toBe(0);
  });
});

test('all problems of the configuration are said at once, by variable, with status 2', async () => {
  const wrong = {
    MULTI_TENANT_URL: 'acme',
    MULTI_TENANT_SERVICE_API_KEY: '',
    OBJECT_STORAGE_BUCKET: '',
    LOG_LEVEL: 'loud',
  };
  for (const [name, value] of Object.entries(wrong)) vi.stubEnv(name, value);
  const { status, stderr } = await matcher(['ingest', 'ledger.csv', ...tenant, ...context, '--source', 's']);
  expect(status).toBe(2);
  for (const variable of Object.keys(wrong)) expect(stderr).toContain(`  ${variable} `);
  expect(connections).toBe(0);
});

test('the fleet can’t be shown without its Redis, and the configuration’s problem says so', async () => {
  vi.stubEnv('REDIS_HOST', '');
  const { status, stderr } = await matcher(['tenants']);
  expect([status, connections]).toEqual([2, 0]);
  expect(stderr).toContain('  REDIS_HOST is required to find the processes of the fleet');
});

test('a command that is understood does connect, and what a server refuses is status 1', async () => {
  const plain = await matcher(['match', ...tenant, ...context]);
  expect(plain).toMatchObject({ status: 1, stdout: '', stderr: expect.stringContaining('[TENANT_NOT_FOUND]') });
  expect(connections).toBe(1);
  const json = await matcher(['match', ...tenant, ...context, '--json']);
  expect(json).toMatchObject({ status: 1, stderr: '' });
  expect(JSON.parse(json.stdout)).toMatchObject({
    error: { code: 'TENANT_NOT_FOUND', hint: 'matcher tenant list shows the active ones.' },
  });
});

test.each([
  'tenant create',
  'tenant list',
  'tenant suspend',
  'tenant reactivate',
  'tenant rotate',
  'tenant limits',
  'tenant remove',
  'context apply',
  'ingest',
  'match',
  'export',
  'jobs list',
  'jobs show',
  'cancel',
  'dead list',
  'dead show',
  'dead replay',
  'dead drop',
  'reconcile',
])('%s has a help with an example, on standard output and with status 0', async (command) => {
  const { status, stdout, stderr } = await matcher([...command.split(' '), '--help']);
  expect([status, stderr, connections]).toEqual([0, '', 0]);
  expect(stdout).toContain(`Usage: matcher ${command}`);
  expect(stdout).toContain(`Example:\n  matcher ${command} `);
});

describe('as a process', () => {
  async function run(...args: string[]) {
    const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(child, 'exit') as Promise<[number]>;
    const [[status], stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
    return { status, stdout, stderr };
  }

  test('it ends with the status, and everything was written', async () => {
    expect(await run('--help')).toMatchObject({ status: 0, stderr: '' });
    expect(await run('match', ...tenant)).toEqual({
      status: 2,
      stdout: '',
      stderr: 'matcher: match needs --context <name> [USAGE]\n',
    });
  });

  test('a reader that stops reading, as head does, is no error', async () => {
    const child = spawn(process.execPath, [script, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    const [[status], stderr] = await Promise.all([once(child, 'exit') as Promise<[number]>, text(child.stderr)]);
    expect([status, stderr]).toEqual([0, '']);
  });
});
