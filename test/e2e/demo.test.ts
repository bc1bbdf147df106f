import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { DemoSummary } from '../../workers/local/demo/summary.ts';
import { addressVariables } from '../../workers/local/services/environment.ts';
import { until } from '../support/fleet.ts';

const script = resolve(import.meta.dirname, '../../workers/local/demo.ts');

/** As on a machine that knows no servers: it starts its own. */
const environment = {
  ...process.env,
  ...Object.fromEntries(Object.values(addressVariables).map((name) => [name, ''])),
};

function demo(...args: string[]) {
  const child = spawn(process.execPath, [script, ...args], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  return { child, ended, output: text(child.stdout), said: text(child.stderr) };
}

test('npm run demo does the main job, checks itself, and says so in one line of JSON', async () => {
  const { ended, output, said } = demo('--json', '--records', '2000', '--seed', '7');
  const [[status], line] = await Promise.all([ended, output]);
  expect(status, await said).toBe(0);
  const summary = JSON.parse(line) as DemoSummary;
  expect(line.trim().split('\n')).toHaveLength(1);
  expect(summary.foreignMessage).toBe('dead-lettered');
  expect(summary.tenants.map(({ context }) => context)).toEqual(['card-settlement', 'bank-statement']);
  for (const tenant of summary.tenants) {
    expect(tenant).toMatchObject({
      left: 2000,
      right: 2000,
      export: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    const pairs = Object.values(tenant.matched).reduce((sum, n) => sum + n, 0);
    expect(tenant.export.rows).toBe(pairs);
  }
});

test('a Ctrl-C in the middle of the demo ends it and every process of it', async () => {
  const { child, ended } = demo('--records', '2000', '--verbose');
  const pids = new Set<number>();
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    for (const [, pid] of chunk.matchAll(/"pid":(\d+)/g)) pids.add(Number(pid));
  });
  await until(() => pids.size >= 4);
  child.kill('SIGINT');
  const [status] = await ended;
  expect(status).toBe(130);
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

test('an option that does not exist is refused with status 2, and nothing is started', async () => {
  const { ended, said } = demo('--recrods', '5');
  expect((await ended)[0]).toBe(2);
  expect(await said).toContain("'--recrods'");
});
