import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { deathHeaders } from '@matcher/shared/rabbitmq/settle.ts';
import { deadLetters, jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import type { ConfirmChannel, Options } from 'amqplib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Interrupted } from '../../workers/cli/failures.ts';
import { runProgram } from '../../workers/cli/program.ts';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { matcher } from '../support/matcher.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;
let direct: Awaited<ReturnType<typeof openVhost>>;
let channel: ConfirmChannel;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  tenant = await fleet.tenant();
  direct = await openVhost(tenant.config.rabbitmq);
  channel = await direct.createConfirmChannel();
});
afterAll(async () => {
  await direct?.close();
  await fleet?.close();
});
beforeEach(async () => {
  useFleet(fleet);
  for (const queue of [deadLetters, jobQueue('matching.run')]) await channel.purgeQueue(queue);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const useFleet = ({ environment }: TestFleet) => {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
};

async function bury(messageId: string | undefined, code: string, properties: Options.Publish = {}, content = '{}') {
  const headers = {
    [tenantHeader]: tenant.id as string,
    [deathHeaders.code]: code,
    [deathHeaders.reason]: 'what happened',
    [deathHeaders.attempt]: 1,
    [deathHeaders.at]: '2025-03-01T22:14:07.000Z',
    [deathHeaders.routingKey]: 'matching.run',
    ...properties.headers,
  };
  const id = messageId === undefined ? {} : { messageId };
  channel.publish(deadLetters, 'matching.run', Buffer.from(content), {
    type: 'matching.run',
    persistent: true,
    ...id,
    ...properties,
    headers,
  });
  await channel.waitForConfirms();
}

const ready = async (queue: string) => (await channel.checkQueue(queue)).messageCount;
const next = () => until(async () => (await channel.get(jobQueue('matching.run'), { noAck: true })) || undefined);
const of = () => ['--tenant', tenant.id];

async function json(...args: string[]) {
  const { status, stdout } = await matcher(['dead', ...args, '--json']);
  return { status, ...JSON.parse(stdout) };
}

/** Runs a command line with somebody at the terminal, who answers. */
async function answering(args: readonly string[], answer: boolean) {
  const asked: string[] = [];
  const written = { stdout: '', stderr: '' };
  const into = (name: keyof typeof written) => ({
    write(chunk: string) {
      written[name] += chunk;
    },
  });
  const streams = { stdout: into('stdout'), stderr: into('stderr') } as never;
  const ask = async (question: string) => {
    asked.push(question);
    return answer;
  };
  const status = await runProgram(args, { streams, interrupted: new AbortController().signal, json: false, ask });
  return { status, asked, ...written };
}

describe('list', () => {
  test('oldest first, with counts by code; as often as one likes', async () => {
    for (const id of ['a', 'b', 'c']) await bury(id, id === 'b' ? 'BODY_INVALID' : 'CONTEXT_NOT_FOUND');
    for (let i = 0; i < 2; i++) {
      const { status, total, byCode, deadLetters: listed } = await json('list', ...of());
      expect([status, total, byCode]).toEqual([0, 3, { CONTEXT_NOT_FOUND: 2, BODY_INVALID: 1 }]);
      expect(listed.map(({ jobId }: { jobId: string }) => jobId)).toEqual(['a', 'b', 'c']);
    }
    const { stdout } = await matcher(['dead', 'list', ...of(), '--limit', '1']);
    expect(stdout).toMatch(
      /^JOB +TYPE +CODE .*\na +matching\.run +CONTEXT_NOT_FOUND +1 +2025-03-01T22:14:07Z +what happened\n/,
    );
    expect(stdout).toContain('3: 2 CONTEXT_NOT_FOUND, 1 BODY_INVALID.\nThese are the oldest 1; --limit shows more.');
  });

  test('by type, by reason and by id', async () => {
    await bury('a', 'CONTEXT_NOT_FOUND');
    await bury('b', 'BODY_INVALID');
    await bury('c', 'BODY_INVALID', { type: 'export.run' });
    for (const [args, expected] of [
      [
        ['--reason', 'BODY_INVALID'],
        ['b', 'c'],
      ],
      [['--reason', 'BODY_INVALID', '--type', 'export.run'], ['c']],
      [['--id', 'a'], ['a']],
      [['--id', 'nothing'], []],
    ] as const) {
      const { deadLetters: listed } = await json('list', ...of(), ...args);
      expect(listed.map(({ jobId }: { jobId: string }) => jobId)).toEqual(expected);
    }
  });

  test('without a tenant: how many each one has', async () => {
    await bury('a', 'CONTEXT_NOT_FOUND');
    const { total, tenants } = await json('list');
    expect(total).toBe(1);
    expect(tenants).toContainEqual({ tenantId: tenant.id, name: expect.any(String), dead: 1, problem: null });
    const { stdout } = await matcher(['dead', 'list']);
    expect(stdout).toMatch(new RegExp(`^TENANT +NAME +DEAD\n(.*\n)*${tenant.id} .* 1\n`));
  });

  test('what a terminal would obey does not reach it', async () => {
    await bury('\u001b[2Jid', '\u001b]0;title\u0007', { headers: { [deathHeaders.reason]: 'first\nsecond\u202e' } });
    for (const command of ['list', 'show']) {
      const { stdout } = await matcher(['dead', command, ...of()]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
      expect(stdout).toContain('[2Jid');
    }
  });
});

describe('show', () => {
  test('everything, with the body as text', async () => {
    await bury(
      'a',
      'BODY_INVALID',
      { correlationId: 'order 7', headers: { [tenantHeader]: 'another' } },
      '{"version":1}',
    );
    const { deadLetters: shown } = await json('show', ...of(), '--id', 'a');
    expect(shown).toEqual([
      expect.objectContaining({
        jobId: 'a',
        code: 'BODY_INVALID',
        tenantHeader: 'another',
        properties: expect.objectContaining({ correlationId: 'order 7', type: 'matching.run' }),
        headers: expect.objectContaining({ [deathHeaders.code]: 'BODY_INVALID' }),
        body: { encoding: 'utf-8', text: '{"version":1}', truncated: false },
      }),
    ]);
    const { stdout } = await matcher(['dead', 'show', ...of()]);
    expect(stdout).toContain('says its tenant: another\n');
    expect(stdout).toContain('body (13 bytes, utf-8):\n{"version":1}');
  });

  test('a body that is no text in hexadecimal, and a large one in part', async () => {
    channel.publish(deadLetters, '', Buffer.from([0xff, 0x00, 0x41]), {});
    await bury('large', 'BODY_TOO_LARGE', {}, `é${'é'.repeat(40_000)}`.slice(1));
    const { deadLetters: shown } = await json('show', ...of());
    expect(shown[0].body).toEqual({ encoding: 'hex', text: 'ff0041', truncated: false });
    expect(shown[1].body).toMatchObject({ encoding: 'utf-8', truncated: true });
    expect(shown[1].bytes).toBe(80_000);
    expect(shown[1].body.text).toHaveLength(32_768);
  });

  test('one that is not there', async () => {
    expect(await json('show', ...of(), '--id', 'a')).toMatchObject({
      status: 1,
      error: { code: 'DEAD_LETTER_NOT_FOUND' },
    });
  });
});

describe('more than one', () => {
  beforeEach(async () => {
    for (const id of ['a', 'b', 'c']) await bury(id, id === 'c' ? 'BODY_INVALID' : 'CONTEXT_NOT_FOUND');
  });

  test.each(['replay', 'drop'])('%s: not without --yes where nobody can be asked', async (verb) => {
    const { status, error } = await json(verb, ...of());
    expect([status, error.code]).toEqual([2, 'CONFIRMATION_NEEDED']);
    expect(error.message).toContain(
      `This would ${verb} 3 dead letters of tenant ${tenant.id} (2 CONTEXT_NOT_FOUND, 1 BODY_INVALID)`,
    );
    expect(await ready(deadLetters)).toBe(3);
  });

  test('somebody is asked, and may say no', async () => {
    const { status, asked, stderr } = await answering(['dead', 'drop', ...of()], false);
    expect([status, asked]).toEqual([1, [expect.stringMatching(/^Drop for ever 3 dead letters/)]]);
    expect(stderr).toContain('Nothing was done.');
    expect(await ready(deadLetters)).toBe(3);
  });

  test('or yes', async () => {
    const { status, asked, stdout } = await answering(
      ['dead', 'replay', ...of(), '--reason', 'CONTEXT_NOT_FOUND'],
      true,
    );
    expect([status, asked.length, stdout]).toEqual([0, 1, 'Replayed 2: 2 CONTEXT_NOT_FOUND.\n']);
    expect([await ready(deadLetters), await ready(jobQueue('matching.run'))]).toEqual([1, 2]);
  });

  test('one of them needs no question', async () => {
    expect(await json('drop', ...of(), '--id', 'b')).toMatchObject({ status: 0, dropped: 1 });
    expect(await json('replay', ...of(), '--limit', '1')).toMatchObject({ status: 0, replayed: 1 });
    expect((await json('list', ...of())).deadLetters).toMatchObject([{ jobId: 'c' }]);
  });

  test('with --yes all are replayed, in their order', async () => {
    expect(await json('replay', ...of(), '--yes')).toMatchObject({
      status: 0,
      replayed: 3,
      byCode: { BODY_INVALID: 1 },
    });
    expect(await ready(deadLetters)).toBe(0);
    for (const id of ['a', 'b', 'c']) {
      expect((await next()).properties.messageId).toBe(id);
    }
  });
});

test('hundreds, some twice under one id, come back in their order', async () => {
  const ids = Array.from({ length: 300 }, (_, i) => `job-${Math.floor(i / 2)}`);
  for (const id of ids) await bury(id, 'CONTEXT_NOT_FOUND');
  expect(await json('replay', ...of(), '--yes')).toMatchObject({ replayed: 300 });
  const back: string[] = [];
  while (back.length < 300) {
    back.push((await next()).properties.messageId);
  }
  expect(back).toEqual(ids);
});

test('killed in the middle of a replay: every message is in one place or the other, and the next replay completes it', async () => {
  const ids = Array.from({ length: 2000 }, (_, i) => `job-${i}`);
  const headers = { [tenantHeader]: tenant.id as string, [deathHeaders.routingKey]: 'matching.run' };
  for (const messageId of ids) {
    channel.publish(deadLetters, '', Buffer.from('{}'), { messageId, type: 'matching.run', persistent: true, headers });
  }
  await channel.waitForConfirms();
  const script = resolve(import.meta.dirname, '../../workers/cli/matcher.ts');
  const child = spawn(process.execPath, [script, 'dead', 'replay', ...of(), '--yes'], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  await until(async () => (await ready(jobQueue('matching.run'))) > 100);
  child.kill('SIGKILL');
  await exit;
  const back: string[] = [];
  const drain = async () => {
    for (let message = await get(); message; message = await get()) back.push(message.properties.messageId);
  };
  const get = () => channel.get(jobQueue('matching.run'), { noAck: true });
  // What the dead process held is back when the broker has noticed.
  await until(async () => {
    await json('replay', ...of(), '--yes');
    await drain();
    return new Set(back).size === ids.length && (await ready(deadLetters)) === 0;
  });
});

test('interrupted in the middle: it says how far it came, and the others are still there', async () => {
  for (let i = 0; i < 300; i++) await bury(`job-${i}`, 'CONTEXT_NOT_FOUND');
  const interrupt = new AbortController();
  const { status, stderr } = await matcher(['dead', 'replay', ...of(), '--yes'], {
    interrupted: interrupt.signal,
    onError: (chunk) => chunk.includes('replaying') && interrupt.abort(new Interrupted()),
  });
  expect([status, stderr]).toEqual([
    130,
    expect.stringMatching(/\d+ were replayed before, the others are still there \[INTERRUPTED\]/),
  ]);
  const [replayed, left] = [await ready(jobQueue('matching.run')), await ready(deadLetters)];
  expect(replayed).toBeGreaterThan(0);
  expect([left > 0, replayed + left]).toEqual([true, 300]);
});

test('what can’t be replayed stays and is named, the others go; and it can be dropped', async () => {
  await bury(undefined, 'JOB_ID_INVALID');
  await bury('nowhere', 'JOB_TYPE_UNKNOWN', { headers: { [deathHeaders.routingKey]: 'no.such' } });
  await bury('good', 'CONTEXT_NOT_FOUND');
  const { status, error } = await json('replay', ...of(), '--yes');
  expect(status).toBe(1);
  expect(error).toMatchObject({
    code: 'NOT_ALL_REPLAYED',
    done: { done: 1, byCode: { CONTEXT_NOT_FOUND: 1 } },
    problems: [
      { jobId: null, code: 'JOB_ID_MISSING' },
      { jobId: 'nowhere', code: 'UNROUTABLE' },
    ],
  });
  expect((await json('list', ...of())).total).toBe(2);
  expect(await json('drop', ...of(), '--yes')).toMatchObject({ status: 0, dropped: 2 });
  expect(await ready(deadLetters)).toBe(0);
});

describe('with a worker', () => {
  let working: TestFleet;
  let own: TestTenant;
  beforeAll(async () => {
    working = await startFleet();
    own = await working.tenant();
  });
  afterAll(() => working?.close());
  beforeEach(() => useFleet(working));

  const matching = { version: 1, context: 'bank' } as const;
  const dead = async (id: string) => {
    const found = await until(async () => (await json('list', '--tenant', own.id, '--id', id)).deadLetters[0]);
    return found;
  };

  test('a failed job is replayed with fresh attempts once its reason is gone, and done', async () => {
    const id = randomUUID();
    expect(await own.run('matching.run', matching, id)).toMatchObject({ state: 'FAILED' });
    expect(await dead(id)).toMatchObject({ code: 'CONTEXT_NOT_FOUND', attempt: 1, type: 'matching.run' });
    await own.done('context.apply', { version: 1, context: simpleContext() });
    expect(await json('replay', '--tenant', own.id, '--id', id)).toMatchObject({ status: 0, replayed: 1 });
    const done = await matcher(['jobs', 'show', id, '--tenant', own.id, '--wait', '--json']);
    expect(JSON.parse(done.stdout)).toMatchObject({ state: 'SUCCEEDED' });
    expect(await own.query('SELECT state, attempt, deaths, error FROM jobs WHERE id = $1', [id])).toEqual([
      { state: 'SUCCEEDED', attempt: 1, deaths: 0, error: null },
    ]);
  });

  test('a replay that comes too early fails anew, and is a dead letter again', async () => {
    const id = randomUUID();
    await own.run('matching.run', { version: 1, context: 'absent' }, id);
    await dead(id);
    expect(await json('replay', '--tenant', own.id, '--id', id)).toMatchObject({ replayed: 1 });
    expect(await dead(id)).toMatchObject({ code: 'CONTEXT_NOT_FOUND', attempt: 1 });
    expect((await json('list', '--tenant', own.id, '--id', id)).total).toBe(1);
  });

  test('another body under the id of a job does not revive that job', async () => {
    const id = randomUUID();
    await own.run('matching.run', { version: 1, context: 'absent' }, id);
    await dead(id);
    expect(await json('drop', '--tenant', own.id, '--id', id)).toMatchObject({ dropped: 1 });
    await own.client.publish('matching.run', { version: 1, context: 'other' }, { id });
    expect(await dead(id)).toMatchObject({ code: 'JOB_ID_REUSED' });
    expect(await json('replay', '--tenant', own.id, '--id', id)).toMatchObject({ replayed: 1 });
    expect(await dead(id)).toMatchObject({ code: 'JOB_ID_REUSED' });
    expect(await own.client.read(id)).toMatchObject({ state: 'FAILED', attempt: 1 });
  });

  test('a cancelled job is not revived unless asked', async () => {
    await own.done('context.apply', { version: 1, context: simpleContext() });
    const id = randomUUID();
    await own.run('matching.run', { version: 1, context: 'absent' }, id);
    await dead(id);
    await own.query(`UPDATE jobs SET state = 'CANCELLED' WHERE id = $1`, [id]);
    await own.query('INSERT INTO job_cancellations (job_id) VALUES ($1)', [id]);
    const stays = await matcher(['dead', 'replay', '--tenant', own.id, '--id', id]);
    expect(stays).toMatchObject({
      status: 0,
      stdout: 'Replayed none.\n1 of cancelled jobs stay; --cancelled replays them, too.\n',
    });
    expect(await own.client.read(id)).toMatchObject({ state: 'CANCELLED' });
    expect(await json('replay', '--tenant', own.id, '--id', id, '--cancelled')).toMatchObject({ replayed: 1 });
    expect(await dead(id)).toMatchObject({ code: 'CONTEXT_NOT_FOUND' });
    expect(await own.client.read(id)).toMatchObject({ state: 'FAILED', attempt: 1 });
  });
});
