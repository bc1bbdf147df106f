import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { pokeSchedules } from '@matcher/shared/schedules/poke.ts';
import type { ConsumeMessage } from 'amqplib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RunningScheduler } from '../../workers/scheduler/start.ts';
import { matcher } from '../support/matcher.ts';
import {
  everySecond,
  type ScheduledTenant,
  type SchedulerFleet,
  secondOf,
  startSchedulerFleet,
} from '../support/scheduler.ts';

const settings = () => loadSettings('worker', { ...process.env, ...fleet.environment });
const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 50_000, interval: 20 });

let fleet: SchedulerFleet;
let tenant: ScheduledTenant;
let scheduler: RunningScheduler | undefined;

beforeAll(async () => {
  fleet = await startSchedulerFleet({ MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1' });
});
afterAll(async () => {
  await fleet?.close();
});
beforeEach(async () => {
  tenant = await fleet.tenant();
});
afterEach(async () => {
  await scheduler?.stop();
  scheduler = undefined;
  await fleet.manager.remove(tenant.id);
});

const start = async () => {
  scheduler = await fleet.scheduler();
  await until(() => fleet.logged('the tenant is looked after', tenant.id).length > 0);
};
const idOf = (message: ConsumeMessage) => String(message.properties.messageId);
const schedulers = () => fleet.redis.zrange(`${fleet.prefix}:firings:repeat`, 0, '-1');
const metric = async (line: string) => {
  const text = await (await fetch(`http://127.0.0.1:${scheduler?.port}/metrics`)).text();
  return Number(
    text
      .split('\n')
      .find((one) => one.startsWith(`${line} `))
      ?.split(' ')[1] ?? 0,
  );
};

describe('a context with a schedule', () => {
  test('has a job published at each firing, that is the same job whoever publishes it', async () => {
    await tenant.context('bank', everySecond);
    const messages = await tenant.consume();
    await start();
    await until(() => messages.length >= 3);
    const [first] = messages as [ConsumeMessage];
    expect(idOf(first)).toMatch(/^schedule:bank:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const seconds = messages.map(secondOf);
    expect(new Set(seconds).size).toBe(messages.length);
    expect(fleet.unaccounted(tenant, messages, Math.max(...seconds))).toEqual([]);
    expect(first.properties).toMatchObject({
      type: 'matching.run',
      deliveryMode: 2,
      headers: { [tenantHeader]: tenant.id },
    });
    expect(JSON.parse(first.content.toString())).toEqual({ version: 1, context: 'bank', mode: 'COMMIT' });
    await until(async () => (await metric('matcher_schedule_firings_total{outcome="published"}')) >= 3);
  });

  test('has it published by nobody’s data but its name', async () => {
    await tenant.context('bank', everySecond);
    await start();
    await until(async () => (await schedulers()).includes(`${tenant.id}:bank`));
    const keys = await fleet.redis.keys(`${fleet.prefix}:firings:repeat:${tenant.id}:bank*`);
    const held = JSON.stringify(await Promise.all(keys.map((key) => fleet.redis.hgetall(key).catch(() => ''))));
    expect(held).toContain(tenant.id);
    expect(held).not.toMatch(/ledger|statement|EXACT/);
  });

  test('is skipped while the message of an earlier run waits', async () => {
    await tenant.context('bank', everySecond);
    await start();
    await until(() => fleet.logged('a scheduled run was skipped', tenant.id).length >= 2);
    expect(await tenant.waiting()).toBe(1);
    const messages = await tenant.consume();
    await until(() => messages.length >= 2);
    expect(secondOf(messages[1] as ConsumeMessage)).toBeGreaterThan(secondOf(messages[0] as ConsumeMessage) + 2);
  });

  test.each(['RUNNING', 'WAITING'])('is skipped while an earlier run is %s', async (state) => {
    await tenant.context('bank', everySecond);
    await tenant.context('bank-2', everySecond);
    await tenant.client.query(
      `INSERT INTO jobs (id, type, body, body_sha256, state) VALUES ('schedule:bank:2026-01-01T06:00:00Z', 'matching.run', '{}', '', $1)`,
      [state],
    );
    const messages = await tenant.consume();
    await start();
    await until(() => fleet.logged('a scheduled run was skipped', tenant.id).length >= 2);
    await until(() => messages.length >= 2);
    expect(messages.map(idOf).filter((id) => !id.startsWith('schedule:bank-2:'))).toEqual([]);
    await tenant.client.query(`UPDATE jobs SET state = 'SUCCEEDED'`);
    await until(() => messages.some((message) => idOf(message).startsWith('schedule:bank:')));
  });

  test('is made up for once, at the latest time, when no scheduler was there for a while', async () => {
    await tenant.context('bank', everySecond);
    const messages = await tenant.consume();
    await start();
    await until(() => messages.length >= 1);
    await scheduler?.stop();
    const before = messages.map(secondOf);
    const last = Math.max(...before);
    await until(() => Date.now() / 1000 > last + 4);
    scheduler = await fleet.scheduler();
    const back = Date.now() / 1000;
    await until(() => messages.length >= before.length + 3);
    const after = messages.slice(before.length);
    // What was missed comes once, by its latest time; then every second has its own.
    expect(secondOf(after[0] as ConsumeMessage)).toBeGreaterThanOrEqual(Math.floor(back) - 1);
    expect(new Set(after.map(secondOf)).size).toBe(after.length);
    expect(fleet.unaccounted(tenant, after, Math.max(...after.map(secondOf)))).toEqual([]);
    expect(fleet.logged('a scheduled run makes up', tenant.id).length).toBeGreaterThan(0);
  });
});

describe('schedules are in force', () => {
  test('at once when the schedulers are poked, and no longer when they are gone', async () => {
    const messages = await tenant.consume();
    await start();
    await until(async () => (await metric('matcher_maintenance_total{outcome="done"}')) > 0);
    await tenant.context('bank', everySecond);
    await pokeSchedules(fleet.redis, settings(), tenant.id);
    await until(() => messages.length > 0);
    await tenant.context('bank');
    await pokeSchedules(fleet.redis, settings(), tenant.id);
    await until(() => fleet.logged('not scheduled any more', tenant.id).length > 0);
    expect(await schedulers()).not.toContain(`${tenant.id}:bank`);
  });

  test('with another expression, by that one', async () => {
    await tenant.context('bank', { cron: '0 6 * * *', timezone: 'Europe/Berlin' });
    await start();
    await until(() => fleet.logged('scheduled', tenant.id, '0 6 * * *').length > 0);
    await tenant.context('bank', everySecond);
    const messages = await tenant.consume();
    await pokeSchedules(fleet.redis, settings(), tenant.id);
    await until(() => messages.length > 0);
  });

  test('for a tenant that is suspended no more, and again when it is reactivated', async () => {
    await tenant.context('bank', everySecond);
    const messages = await tenant.consume();
    await start();
    await until(() => messages.length > 0);
    await fleet.manager.suspend(tenant.id);
    await until(async () => !(await schedulers()).includes(`${tenant.id}:bank`));
    await until(async () => (await fleet.redis.zscore(`${fleet.prefix}:maintenance:repeat`, tenant.id)) === null);
    await fleet.manager.reactivate(tenant.id);
    const before = messages.length;
    await until(() => messages.length > before);
  });

  test('again after Redis has lost everything', async () => {
    await tenant.context('bank', everySecond);
    const messages = await tenant.consume();
    await start();
    await until(() => messages.length > 0);
    const keys = await fleet.redis.keys(`${fleet.prefix}:*`);
    await fleet.redis.del(keys);
    const before = messages.length;
    await until(() => messages.length > before + 1);
  });
});

test('a firing of a schedule that the database does not know any more is not published', async () => {
  await tenant.context('bank', everySecond);
  const messages = await tenant.consume();
  await start();
  await until(() => messages.length > 0);
  await tenant.context('bank', { cron: '0 6 * * *', timezone: 'UTC' });
  await until(
    () => fleet.logged('a scheduled run of a context that has another schedule by now', tenant.id).length > 0,
  );
  await until(() => fleet.logged('scheduled', tenant.id, '0 6 * * *').length > 0);
});

test('a process says when it is ready, and drains on SIGTERM', async () => {
  await tenant.context('bank', everySecond);
  const messages = await tenant.consume();
  const child = await fleet.spawnScheduler();
  const port = /"port":(\d+)/.exec(fleet.logged('started', `"pid":${child.pid}`)[0] ?? '')?.[1];
  const ready = async () => (await fetch(`http://127.0.0.1:${port}/ready`)).status === 200;
  await until(ready);
  expect(await (await fetch(`http://127.0.0.1:${port}/ready`)).json()).toMatchObject({ state: 'running', reasons: [] });
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  await until(() => messages.length > 0);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test('matcher schedules lists when each context is matched next, and what became of its last run', async () => {
  await tenant.context('bank', { cron: '0 6 * * 1-5', timezone: 'Europe/Berlin' });
  await tenant.context('cards', { cron: '*/15 * * * *', timezone: 'UTC' });
  await tenant.context('by-hand');
  await tenant.client.query(
    `INSERT INTO jobs (id, type, body, body_sha256, state, created_at) VALUES
       ('schedule:bank:2026-01-05T05:00:00Z', 'matching.run', '{}', '', 'SUCCEEDED', '2026-01-05 05:00:01Z'),
       ('schedule:bank:2026-01-06T05:00:00Z', 'matching.run', '{}', '', 'FAILED', '2026-01-06 05:00:01Z')`,
  );
  await tenant.client.query(`UPDATE contexts SET status = 'PAUSED' WHERE name = 'cards'`);
  vi.stubEnv('MULTI_TENANT_ENABLED', 'true');
  for (const [name, value] of Object.entries(fleet.environment)) vi.stubEnv(name, value);
  try {
    const { status, stdout } = await matcher(['schedules', '--tenant', tenant.id, '--json']);
    expect(status).toBe(0);
    const { schedules } = JSON.parse(stdout);
    expect(schedules).toEqual([
      {
        context: 'bank',
        cron: '0 6 * * 1-5',
        timezone: 'Europe/Berlin',
        active: true,
        last: { jobId: 'schedule:bank:2026-01-06T05:00:00Z', state: 'FAILED' },
        next: expect.stringMatching(/T0[45]:00:00\.000Z$/),
      },
      { context: 'cards', cron: '*/15 * * * *', timezone: 'UTC', active: false, last: null, next: null },
    ]);
    const { stdout: text } = await matcher(['schedules', '--tenant', tenant.id]);
    expect(text).toMatch(/^CONTEXT +CRON +ZONE +NEXT +LAST JOB +STATE\nbank +0 6 \* \* 1-5 +Europe\/Berlin/);
  } finally {
    vi.unstubAllEnvs();
  }
});
