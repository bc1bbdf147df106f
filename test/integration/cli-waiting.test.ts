import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { Interrupted } from '../../workers/cli/failures.ts';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { matcher } from '../support/matcher.ts';

let fleet: TestFleet;
let tenant: TestTenant;
let folder: string;

beforeAll(async () => {
  fleet = await startFleet();
  tenant = await fleet.tenant();
  folder = await mkdtemp(join(tmpdir(), 'matcher-cli-'));
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
});
afterAll(async () => {
  await fleet?.close();
  await rm(folder, { recursive: true, force: true });
});

const useFleet = ({ environment }: TestFleet) => {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
};
beforeEach(() => useFleet(fleet));
afterEach(() => {
  vi.unstubAllEnvs();
});

test('whoever waits no longer is told that the job goes on, and how to look at it; and it does', async () => {
  const idle = await startFleet({ workers: 0 });
  try {
    useFleet(idle);
    const { id } = await idle.tenant();
    const file = join(folder, 'context.json');
    await writeFile(file, JSON.stringify({ version: 1, ...simpleContext() }));
    const apply = ['context', 'apply', file, '--tenant', id];

    const tooLong = await matcher([...apply, '--timeout', '1', '--json']);
    expect(tooLong.status).toBe(1);
    const { error } = JSON.parse(tooLong.stdout);
    expect(error).toMatchObject({
      code: 'WAIT_TIMEOUT',
      hint: `See how it is: matcher jobs show ${error.jobIds[0]} --tenant ${id}`,
    });

    const interrupt = new AbortController();
    const interrupted = await matcher(apply, {
      interrupted: interrupt.signal,
      onError: (chunk) => chunk.includes('waiting') && interrupt.abort(new Interrupted()),
    });
    expect(interrupted.status).toBe(130);
    expect(interrupted.stderr).toMatch(
      /what was published goes on: apply \(job [0-9a-f-]{36}\) \[INTERRUPTED\]\nSee how it is/,
    );

    const unknown = await matcher(['jobs', 'show', error.jobIds[0], '--tenant', id]);
    expect(unknown).toMatchObject({ status: 1, stderr: expect.stringContaining('[JOB_NOT_FOUND]') });
    await idle.worker();
    const done = await matcher(['jobs', 'show', error.jobIds[0], '--tenant', id, '--wait', '--json']);
    expect(JSON.parse(done.stdout)).toMatchObject({ state: 'SUCCEEDED', result: { context: 'bank' } });
  } finally {
    await idle.close();
  }
});

test('a job that fails: status 1, its code, message and hint, and its id for scripts', async () => {
  const args = ['match', '--context', 'nothing', '--tenant', tenant.id, '--wait'];
  expect(await matcher(args)).toMatchObject({
    status: 1,
    stdout: '',
    stderr: expect.stringContaining('matcher: match: There is no context nothing [CONTEXT_NOT_FOUND]\nApply'),
  });
  const { error } = JSON.parse((await matcher([...args, '--json'])).stdout);
  expect(await tenant.client.read(error.jobId)).toMatchObject({ state: 'FAILED', error: { code: error.code } });
});

test('export --output: the very file, and nothing beside it', async () => {
  await loadPairs(tenant, 20);
  await matcher(['match', '--context', 'bank', '--tenant', tenant.id, '--wait']);
  const file = join(folder, 'reports', 'matched.csv');
  const args = ['export', '--context', 'bank', '--report', 'MATCHED', '--output', file, '--tenant', tenant.id];
  for (const attempt of ['new', 'over the one that is there']) {
    const { status, stdout } = await matcher([...args, '--json']);
    const { result } = JSON.parse(stdout);
    expect([attempt, status, result.rows]).toEqual([attempt, 0, 20]);
    expect(
      createHash('sha256')
        .update(await readFile(file))
        .digest('hex'),
    ).toBe(result.sha256);
    expect(await readdir(join(folder, 'reports'))).toEqual(['matched.csv']);
  }
});
