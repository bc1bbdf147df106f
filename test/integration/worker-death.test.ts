import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';

let fleet: TestFleet;

beforeAll(async () => {
  fleet = await startFleet({ workers: 1 });
});
afterAll(() => fleet?.close());

test('a worker killed in the middle of a run leaves nothing of it, and another one does the run once', async () => {
  const doomedFleet = await startFleet({ workers: 0 });
  try {
    const own = await doomedFleet.tenant();
    const first = await doomedFleet.worker();
    await own.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(own, 50);
    await first.stop();

    const victim = await doomedFleet.spawnWorker('matching');
    const hold = await own.hold('match_groups');
    const id = randomUUID();
    await own.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
    await until(hold.waiting);
    victim.kill('SIGKILL');
    await once(victim, 'exit');
    await hold.release();
    expect(await own.query('SELECT 1 FROM match_items')).toEqual([]);
    expect(await own.query('SELECT state, attempt FROM jobs WHERE id = $1', [id])).toEqual([
      { state: 'RUNNING', attempt: 1 },
    ]);

    await doomedFleet.worker();
    expect(await own.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 50 } });
    expect(await own.query('SELECT count(*)::int AS n FROM match_items')).toEqual([{ n: 100 }]);
    expect(await own.query('SELECT count(*)::int AS n FROM match_runs')).toEqual([{ n: 1 }]);
    expect(await own.query('SELECT state, attempt FROM jobs WHERE id = $1', [id])).toEqual([
      { state: 'SUCCEEDED', attempt: 2 },
    ]);
  } finally {
    await doomedFleet.close();
  }
});

test('a worker that was thought dead and comes back cannot commit what another one has taken over', async () => {
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  await loadPairs(tenant, 5);
  const hold = await tenant.hold('match_groups');
  const id = randomUUID();
  await tenant.client.publish('matching.run', { version: 1, context: 'bank' }, { id });
  await until(hold.waiting);
  // Another process takes the job over: the fence is one higher, and its lease is good for a while.
  await tenant.query(
    `UPDATE jobs SET fence = fence + 1, worker = 'another', lease_until = now() + interval '4 seconds' WHERE id = $1`,
    [id],
  );
  await hold.release();
  await until(() => fleet.lines.some((line) => line.includes('LEASE_LOST') && line.includes(id)));
  expect(await tenant.query('SELECT 1 FROM match_items')).toEqual([]);
  expect(await tenant.query('SELECT state, worker FROM jobs WHERE id = $1', [id])).toEqual([
    { state: 'RUNNING', worker: 'another' },
  ]);
  // The other one never renews its lease, so the job is taken up again, and is done once.
  expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
  expect(await tenant.query('SELECT count(*)::int AS n FROM match_items')).toEqual([{ n: 10 }]);
});

test('a run renews its lease while it computes, so that no second worker takes it for dead', async () => {
  const own = await startFleet({ workers: 2 });
  try {
    const tenant = await own.tenant();
    // Rules that find nothing, enough of them to compute for longer than the second between two renewals.
    const rules = Array.from({ length: 100 }, (_, i) => ({
      name: `r${i}`,
      priority: i,
      type: 'EXACT' as const,
      config: { referenceField: i === 99 ? 'ref' : `none${i}`, referenceMustSet: true, matchDate: false },
    }));
    await tenant.done('context.apply', { version: 1, context: simpleContext({ rules }) });
    await loadPairs(tenant, 30_000);
    const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
    const lease = async () => (await tenant.query('SELECT lease_until FROM jobs WHERE id = $1', [id]))[0]?.lease_until;
    const first = await until(lease);
    await until(async () => {
      const now = await lease();
      return now === null || now > first;
    });
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 30_000 } });
    expect(await tenant.query('SELECT attempt, fence FROM jobs WHERE id = $1', [id])).toEqual([
      { attempt: 1, fence: '1' },
    ]);
  } finally {
    await own.close();
  }
});

test('SIGTERM during a run: the run finishes, its message is acknowledged, the process exits 0', async () => {
  const own = await startFleet({ workers: 0 });
  try {
    const tenant = await own.tenant();
    const first = await own.worker();
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(tenant, 5);
    await first.stop();
    const worker = await own.spawnWorker('matching');
    const hold = await tenant.hold('match_groups');
    const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
    await until(hold.waiting);
    worker.kill('SIGTERM');
    await until(() =>
      own.lines.some((line) => line.includes(`"pid":${worker.pid},`) && line.includes('"msg":"stopping"')),
    );
    await hold.release();
    const [code] = await once(worker, 'exit');
    expect(code).toBe(0);
    // An unacknowledged message is back in its queue as soon as its process is gone.
    const connection = await openVhost(tenant.config.rabbitmq);
    const { messageCount } = await (await connection.createChannel()).checkQueue(jobQueue('matching.run'));
    await connection.close();
    expect(messageCount).toBe(0);
    expect(await tenant.query('SELECT state, attempt FROM jobs WHERE id = $1', [id])).toEqual([
      { state: 'SUCCEEDED', attempt: 1 },
    ]);
  } finally {
    await own.close();
  }
});

test('SIGTERM during a run that does not end in time: the run is ended, goes back uncharged, and another worker does it', async () => {
  const own = await startFleet({ workers: 0, overrides: { DRAIN_TIMEOUT_SEC: '1' } });
  try {
    const tenant = await own.tenant();
    const first = await own.worker();
    await tenant.done('context.apply', { version: 1, context: simpleContext() });
    await loadPairs(tenant, 5);
    await first.stop();
    const worker = await own.spawnWorker('matching');
    const hold = await tenant.hold('match_groups');
    const id = await tenant.client.publish('matching.run', { version: 1, context: 'bank' });
    await until(hold.waiting);
    worker.kill('SIGTERM');
    const [code] = await once(worker, 'exit');
    expect(code).toBe(0);
    expect(await tenant.query('SELECT state, attempt FROM jobs WHERE id = $1', [id])).toEqual([
      { state: 'WAITING', attempt: 0 },
    ]);
    await hold.release();
    await own.worker();
    expect(await tenant.client.follow(id)).toMatchObject({ state: 'SUCCEEDED', result: { matched: 5 } });
    expect(await tenant.query('SELECT attempt FROM jobs WHERE id = $1', [id])).toEqual([{ attempt: 1 }]);
  } finally {
    await own.close();
  }
});

test('events that a dead worker left in the outbox are sent with the next job of that tenant', async () => {
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  const jobId = randomUUID();
  const followed = tenant.client.follow(jobId);
  const event = {
    eventId: randomUUID(),
    eventType: 'matching.run_completed',
    tenantId: tenant.id,
    tenantSlug: tenant.config.slug,
    timestamp: new Date().toISOString(),
    jobId,
    result: { matched: 0 },
  };
  await tenant.query('INSERT INTO outbox (event_id, event_type, body) VALUES ($1, $2, $3)', [
    event.eventId,
    event.eventType,
    JSON.stringify(event),
  ]);
  await tenant.done('matching.run', { version: 1, context: 'bank' });
  expect(await followed).toMatchObject({ state: 'SUCCEEDED' });
});
