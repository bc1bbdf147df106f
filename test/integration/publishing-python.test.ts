import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { jobQueue, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../../workers/local/services/commands.ts';
import { program } from '../../workers/local/services/packages.ts';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { pythonWithPika } from '../support/python-pika.ts';
import { openVhost } from '../support/tenant-manager.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../docs/publishing.md'), 'utf8');

/** The blocks of code in that language on the page, as they are printed. */
const printed = (language: string) =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map(([, code]) => code ?? '');

const python = await pythonWithPika();

describe.skipIf(python === undefined)('the Python script on the page about publishing, as it is printed', () => {
  let fleet: TestFleet;
  let tenant: TestTenant;
  let folder: string;
  let script: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'matcher-python-'));
    script = join(folder, 'publish.py');
    const [code, ...more] = printed('python');
    expect(more).toEqual([]);
    writeFileSync(script, code ?? '');
    fleet = await startFleet();
    tenant = await fleet.tenant();
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
  });
  afterAll(async () => {
    await fleet?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const address = () => {
    const { host, port, vhost, user, password } = tenant.config.rabbitmq;
    return `amqp://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${host}:${port}/${encodeURIComponent(vhost)}`;
  };
  const run = (env: Record<string, string>) =>
    runCommand(python as string, [script], {
      env: { AMQP_URL: address(), TENANT: tenant.id, CONTEXT: 'bank', ...env },
    });

  test('publishes, follows and prints the result', async () => {
    await loadPairs(tenant, 5);
    const { code, stdout, output } = await run({});
    expect([code, output]).toEqual([0, stdout]);
    const [type, ...rest] = stdout.trimEnd().split('\n').at(-1)?.split(' ') ?? [];
    expect(type).toBe('matching.run_completed');
    expect(JSON.parse(rest.join(' '))).toMatchObject({ context: 'bank', mode: 'COMMIT', matched: 5 });
  });

  test('ends with status 1 when its job fails, and says why', async () => {
    const { code, stdout } = await run({ CONTEXT: 'absent' });
    expect([code, stdout]).toEqual([1, expect.stringMatching(/^matching\.run_failed .*"CONTEXT_NOT_FOUND"/)]);
  });

  test('says so when no queue takes its job', async () => {
    const connection = await openVhost(tenant.config.rabbitmq);
    const channel = await connection.createChannel();
    await channel.unbindQueue(jobQueue('matching.run'), jobsExchange, 'matching.run');
    const { code, output } = await run({});
    expect([code, output]).toEqual([1, 'No queue takes this job: is its routing key a job type?\n']);
    await channel.bindQueue(jobQueue('matching.run'), jobsExchange, 'matching.run');
    await connection.close();
  });

  test.skipIf(program('curl') === undefined)('gets its address by the lines that stand above it', async () => {
    const lines = printed('sh').find((code) => code.startsWith('export AMQP_URL='));
    expect(lines).toBeDefined();
    const { code, stdout } = await runCommand('sh', ['-c', `${lines}printf %s "$AMQP_URL"`], {
      env: { ...fleet.environment, TENANT: tenant.id },
    });
    expect([code, stdout]).toEqual([0, address()]);
  });
});
