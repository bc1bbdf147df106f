import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { familyOf, gone, isAlive } from '../../workers/local/services/processes.ts';
import type { Report } from '../torture/report.ts';

/** Short runs of the torture, each a plan drawn from its seed. */

/** Plans that once found something; what each found was mended. */
const failedSeeds: number[] = [];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'torture-test-'));
  // The servers' users must reach their own folders in here.
  chmodSync(folder, 0o711);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function start(...args: string[]) {
  const script = join(import.meta.dirname, '../torture/run.ts');
  const child = spawn(process.execPath, [script, '--tenants', '4', '--workers', '1', '--publishers', '2', ...args], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const ended = once(child, 'close').then(([status]) => ({ status, output, lines }));
  return { child, ended };
}

test.each([13, ...failedSeeds])(
  'seed %i: nothing is lost, twice or foreign, whatever is struck',
  async (seed) => {
    const { status, output, lines } = await start('--seed', String(seed), '--minutes', '0.25', '--json').ended;
    if (status !== 0) throw new Error(`status ${status}:\n${lines.join('\n')}`);
    const report: Report = JSON.parse(output);
    expect(report).toMatchObject({ seed, findings: [] });
    // It had something to find things in.
    expect(Object.values(report.jobs.succeeded).every((count) => count > 4)).toBe(true);
    expect(Object.keys(report.strikes).length).toBeGreaterThan(4);
    expect(readdirSync(folder)).toEqual([]);
  },
  400_000,
);

test('interrupted in the middle, it leaves no process and no folder', async () => {
  const { child, ended } = start('--minutes', '5', '--seed', '1', '--json');
  await new Promise<void>((begun) => {
    createInterface({ input: child.stderr }).on('line', (line) => line === 'it begins' && begun());
    void ended.then(() => begun());
  });
  const family = familyOf(child.pid as number);
  expect(family.filter(isAlive).length).toBeGreaterThan(5);
  child.kill('SIGINT');
  expect((await ended).status).toBe(130);
  expect(await gone(family, 5000)).toBe(true);
  expect(readdirSync(folder)).toEqual([]);
}, 400_000);
