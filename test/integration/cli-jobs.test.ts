import { randomUUID } from 'node:crypto';
import { requestCancel } from '@matcher/shared/jobs/cancel.ts';
import { eventSchemas } from '@matcher/shared/jobs/contracts/events.ts';
import { openJobRecords } from '@matcher/shared/jobs/records.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { startManagerProxy } from '../support/manager-proxy.ts';
import { matcher } from '../support/matcher.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
  tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
});
afterAll(() => fleet?.close());

const useFleet = ({ environment }: TestFleet) => {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
};
beforeEach(() => useFleet(fleet));
afterEach(() => {
  vi.unstubAllEnvs();
});

async function json(...args: string[]) {
  const { status, stdout } = await matcher([...args, '--tenant', tenant.id, '--json']);
  return { status, ...JSON.parse(stdout) };
}

/** A job as its record would be. */
async function record(state: string, more: Record<string, unknown> = {}): Promise<string> {
  const job = { id: randomUUID(), type: 'matching.run', state, body: '{}', body_sha256: '\\x00', ...more };
  const names = Object.keys(job);
  await tenant.query(`INSERT INTO jobs (${names}) VALUES (${names.map((_, i) => `$${i + 1}`)})`, Object.values(job));
  return job.id;
}

const matching = { version: 1, context: 'bank' } as const;

describe('jobs list', () => {
  test('newest first, however many pages that takes, and none twice where many are of one moment', async () => {
    const other = await fleet.tenant();
    await other.done('context.apply', { version: 1, context: simpleContext() });
    await other.query(
      `INSERT INTO jobs (id, type, state, body, body_sha256, created_at)
       SELECT 'old-' || to_char(n, 'FM0000'), 'export.run', 'WAITING', '{}', '', now() - make_interval(hours => 1 + n / 700)
         FROM generate_series(1, 1400) AS n`,
    );
    const list = async (...args: string[]) => {
      const { stdout } = await matcher(['jobs', 'list', '--tenant', other.id, '--json', ...args]);
      return JSON.parse(stdout).jobs as { jobId: string; createdAt: string; type: string }[];
    };
    const all = await list('--limit', '5000');
    expect(all).toHaveLength(1401);
    expect(new Set(all.map(({ jobId }) => jobId)).size).toBe(1401);
    expect(all[0]?.type).toBe('context.apply');
    const times = all.map(({ createdAt }) => createdAt);
    expect(times).toEqual(times.toSorted().reverse());
    expect(await list()).toEqual(all.slice(0, 50).map((job) => expect.objectContaining({ jobId: job.jobId })));
    expect(await list('--since', '30m')).toHaveLength(1);
    expect(await list('--type', 'export.run', '--limit', '3')).toHaveLength(3);
    expect(await list('--state', 'SUCCEEDED')).toHaveLength(1);
  });

  test('the table says how each one is', async () => {
    const failed = await tenant.client.publish('matching.run', { version: 1, context: 'absent' });
    await tenant.client.follow(failed);
    const { status, stdout } = await matcher(['jobs', 'list', '--tenant', tenant.id, '--state', 'FAILED']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^JOB +TYPE +STATE +ATTEMPT +AGE +TOOK +WORKER +ERROR\n/);
    expect(stdout).toMatch(new RegExp(`${failed} +matching.run +FAILED +1 +\\d.* CONTEXT_NOT_FOUND\n`));
    expect((await matcher(['jobs', 'list', '--tenant', tenant.id, '--state', 'DUPLICATE'])).stdout).toBe(
      'There is no such job.\n',
    );
  });

  test('of a tenant whose database no worker has opened yet', async () => {
    const idle = await startFleet({ workers: 0 });
    try {
      useFleet(idle);
      const { id } = await idle.tenant();
      const { status, stdout } = await matcher(['jobs', 'list', '--tenant', id]);
      expect([status, stdout]).toEqual([0, 'There is no such job.\n']);
      expect(await matcher(['jobs', 'show', 'some', '--tenant', id])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('[JOB_NOT_FOUND]'),
      });
    } finally {
      await idle.close();
    }
  });
});

describe('jobs show', () => {
  test('a job that is done, with body and result', async () => {
    const id = await tenant.client.publish('matching.run', matching, { idempotencyKey: 'show-me' });
    await tenant.client.follow(id);
    expect(await json('jobs', 'show', id)).toMatchObject({
      status: 0,
      jobId: id,
      type: 'matching.run',
      state: 'SUCCEEDED',
      attempt: 1,
      deaths: 0,
      body: matching,
      result: { context: 'bank' },
      idempotencyKey: 'show-me',
      duplicateOf: null,
      progress: null,
    });
    const { stdout } = await matcher(['jobs', 'show', id, '--tenant', tenant.id]);
    expect(stdout).toMatch(/^job: +\S+\ntype: +matching\.run\nstate: +SUCCEEDED\n/);
    expect(stdout).toContain('"context": "bank"');
  });

  test('one that failed is shown with its error, which is no failure of the command', async () => {
    const id = await tenant.client.publish('matching.run', { version: 1, context: 'absent' });
    await tenant.client.follow(id);
    const { status, stdout } = await matcher(['jobs', 'show', id, '--tenant', tenant.id]);
    expect(status).toBe(0);
    expect(stdout).toContain('There is no context absent [CONTEXT_NOT_FOUND]');
  });

  test('one that runs, with how far it is and who is at it', async () => {
    await loadPairs(tenant, 5);
    const held = await tenant.hold('match_groups');
    const id = await tenant.client.publish('matching.run', matching);
    await until(held.waiting);
    const shown = await until(async () => {
      const found = await json('jobs', 'show', id);
      return found.progress ? found : undefined;
    });
    expect(shown).toMatchObject({
      state: 'RUNNING',
      worker: expect.any(String),
      progress: { stage: expect.any(String) },
    });
    await held.release();
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
  });

  test('a database that can’t be reached is said to be so', async () => {
    const { postgres } = tenant.config;
    vi.stubEnv('MULTI_TENANT_ENABLED', 'false');
    vi.stubEnv('DEFAULT_TENANT_ID', tenant.id);
    vi.stubEnv('POSTGRES_USER', postgres.user);
    vi.stubEnv('POSTGRES_PASSWORD', 'wrong');
    const { status, error } = await json('jobs', 'list');
    expect([status, error.code]).toEqual([1, 'DATABASE_UNAVAILABLE']);
  });
});

describe('cancel', () => {
  test('a job that waits for its next attempt ends at once', async () => {
    const id = await record('WAITING', { attempt: 2 });
    expect(await json('cancel', id)).toEqual({ status: 0, jobId: id, found: 'WAITING' });
    expect(await tenant.client.read(id)).toMatchObject({ state: 'CANCELLED', attempt: 2 });
    expect(await json('cancel', id)).toMatchObject({ status: 0, found: 'ENDED', state: 'CANCELLED' });
  });

  test('one whose process died ends at once, and not when its message comes', async () => {
    const id = await record('RUNNING', { attempt: 1, fence: 7, lease_until: 'yesterday', worker: 'matching@gone:1' });
    expect(await json('cancel', id)).toEqual({ status: 0, jobId: id, found: 'WAITING' });
    const [job] = await tenant.query('SELECT state, fence, lease_until FROM jobs WHERE id = $1', [id]);
    // Should it be alive after all, it can't commit any more.
    expect(job).toEqual({ state: 'CANCELLED', fence: '8', lease_until: null });
  });

  test('the event of one that ends at once is sent at once; with the broker away, the job is cancelled all the same', async () => {
    const other = await startFleet({ workers: 0 });
    const manager = await startManagerProxy(other.manager.address);
    try {
      useFleet(other);
      vi.stubEnv('MULTI_TENANT_URL', manager.address);
      const { id, config, client, query } = await other.tenant();
      // The first one makes the tables.
      await matcher(['cancel', randomUUID(), '--tenant', id]);
      const connection = await openVhost(config.rabbitmq);
      const channel = await connection.createChannel();
      const { queue } = await channel.assertQueue('', { exclusive: true });
      await channel.bindQueue(queue, eventsExchange, '#');
      const waiting = async () => {
        const job = randomUUID();
        await query(
          `INSERT INTO jobs (id, type, body, body_sha256, state) VALUES ($1, 'matching.run', '{}', '', 'WAITING')`,
          [job],
        );
        return job;
      };
      const events = async () => {
        const message = await until(async () => (await channel.get(queue, { noAck: true })) || undefined);
        return JSON.parse(message.content.toString());
      };
      const first = await waiting();
      expect(await matcher(['cancel', first, '--tenant', id])).toMatchObject({ status: 0 });
      expect(await events()).toMatchObject({ eventType: 'job.cancelled', jobId: first });
      const followed = await waiting();
      expect(await matcher(['cancel', followed, '--tenant', id, '--wait'])).toMatchObject({ status: 0 });
      expect(await events()).toMatchObject({ eventType: 'job.cancelled', jobId: followed });

      manager.detours.set(id, { rabbitmqPort: 1 });
      const unsent = await waiting();
      expect(await matcher(['cancel', unsent, '--tenant', id])).toMatchObject({ status: 0 });
      expect(await client.read(unsent)).toMatchObject({ state: 'CANCELLED' });
      expect(await query('SELECT event_type FROM outbox')).toEqual([{ event_type: 'job.cancelled' }]);
      await connection.close();
    } finally {
      await other.close();
      await manager.close();
    }
  });

  test('one that nobody has begun is not done when its message comes; and both are told of by an event', async () => {
    const connection = await openVhost(tenant.config.rabbitmq);
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, eventsExchange, 'job.cancelled');
    const waiting = await record('WAITING', { attempt: 2 });
    await json('cancel', waiting);
    const unbegun = randomUUID();
    expect(await json('cancel', unbegun)).toMatchObject({ status: 0, found: 'NOT_STARTED' });
    await tenant.client.publish('matching.run', matching, { id: unbegun });
    const events: Record<string, unknown>[] = [];
    while (events.at(-1)?.jobId !== unbegun) {
      const message = await until(async () => (await channel.get(queue, { noAck: true })) || undefined);
      events.push(JSON.parse(message.content.toString()));
    }
    const schema = eventSchemas()['job.cancelled'];
    for (const [jobId, attempt] of [
      [waiting, 2],
      [unbegun, 0],
    ] as const) {
      const event = events.find((one) => one.jobId === jobId);
      expect(event).toMatchObject({ jobType: 'matching.run', attempt, tenantId: tenant.id });
      expect(schema?.safeParse(event).error).toBeUndefined();
    }
    expect(await tenant.client.read(unbegun)).toMatchObject({ state: 'CANCELLED', attempt: 0, result: null });
    await connection.close();
  });

  test('one that runs is ended, and leaves nothing half done', async () => {
    const other = await fleet.tenant();
    await other.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(other, 5);
    const held = await other.hold('match_groups');
    const id = await other.client.publish('matching.run', matching);
    await until(held.waiting);
    const waiting = matcher(['cancel', id, '--tenant', other.id, '--wait', '--json']);
    expect(await other.client.follow(id)).toEqual({ state: 'CANCELLED' });
    expect(JSON.parse((await waiting).stdout)).toEqual({ jobId: id, found: 'RUNNING', state: 'CANCELLED' });
    await held.release();
    expect(await other.query('SELECT count(*)::int AS rows FROM match_items')).toEqual([{ rows: 0 }]);
    expect(await other.done('matching.run', matching)).toMatchObject({ matched: 5 });
  });

  test('one that has ended stays as it is, and the command says how it ended', async () => {
    const id = await tenant.client.publish('matching.run', matching);
    await tenant.client.follow(id);
    const { status, stdout, stderr } = await matcher(['cancel', id, '--tenant', tenant.id]);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`The job ${id} has ended: SUCCEEDED [JOB_ENDED]\nNothing was changed.`);
    expect(await tenant.query('SELECT 1 FROM job_cancellations WHERE job_id = $1', [id])).toEqual([]);
    const duplicate = await record('DUPLICATE', { duplicate_of: id });
    expect((await json('cancel', duplicate)).error).toMatchObject({ hint: expect.stringContaining(id) });
  });

  test('of one that is given back and taken at the same moments, each answer is true of its moment', async () => {
    const source = createTenantSource(fleet.settings);
    const records = openJobRecords(tenant.id, source, fleet.settings, fleet.log);
    for (let i = 0; i < 20; i++) {
      const id = await record('RUNNING', { lease_until: 'tomorrow', fence: 1 });
      const [outcome] = await Promise.all([
        records.write((db) => requestCancel(db, { tenantId: tenant.id, slug: 'slug' }, id)),
        tenant.query(`UPDATE jobs SET state = 'WAITING', lease_until = NULL WHERE id = $1 AND state = 'RUNNING'`, [id]),
      ]);
      const job = await tenant.client.read(id);
      expect(outcome.found).toMatch(/^(RUNNING|WAITING)$/);
      expect(job?.state).toBe(outcome.found === 'WAITING' ? 'CANCELLED' : 'WAITING');
      // In both cases whoever takes it next knows.
      expect(await tenant.query('SELECT 1 FROM job_cancellations WHERE job_id = $1', [id])).toHaveLength(1);
    }
    await records.close();
  });

  test('of a tenant whose database nobody has opened yet: its first job is not begun', async () => {
    const idle = await startFleet({ workers: 0 });
    try {
      useFleet(idle);
      const { id, client } = await idle.tenant();
      const jobId = await client.publish('context.apply', { version: 1, context: simpleContext() });
      const cancelled = await matcher(['cancel', jobId, '--tenant', id]);
      expect(cancelled).toMatchObject({ status: 0, stdout: expect.stringContaining('No worker has begun') });
      await idle.worker();
      expect(await client.follow(jobId)).toEqual({ state: 'CANCELLED' });
    } finally {
      await idle.close();
    }
  });

  test('whoever follows a cancelled job by a command gets status 1 and a code', async () => {
    const id = await record('CANCELLED');
    expect(await json('jobs', 'show', id, '--wait')).toMatchObject({
      status: 1,
      error: { code: 'JOB_CANCELLED', jobId: id },
    });
  });
});

test('--idempotency-key: the second command waits for what the first one began, and prints its result', async () => {
  const match = ['match', '--context', 'bank', '--idempotency-key', 'match-of-july', '--wait'];
  const first = await json(...match);
  const second = await json(...match);
  expect(second.result).toEqual(first.result);
  expect(second.jobId).not.toBe(first.jobId);
  expect(await tenant.client.read(second.jobId)).toMatchObject({ state: 'DUPLICATE', duplicate_of: first.jobId });
});
