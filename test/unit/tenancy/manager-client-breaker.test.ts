import type { Settings } from '@matcher/shared/config/variables.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  configured,
  holding,
  json,
  type ManagerStandIn,
  type Respond,
  startManagerStandIn,
} from '../../support/manager-stand-in.ts';
import { testLog } from '../../support/test-log.ts';

const tenantId = canonicalTenantId('acme');
const tenants = Array.from({ length: 20 }, (_, i) => canonicalTenantId(`tenant-${i}`));
const down = json(503, '');
const empty = json(200, []);
const unavailable = { code: 'TENANT_MANAGER_UNAVAILABLE', remedy: 'not-now' };
const rejected = { ...unavailable, message: expect.stringContaining('circuit breaker') };

let manager: ManagerStandIn;
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  manager = await startManagerStandIn();
});
afterEach(async () => {
  await manager.close();
  vi.useRealTimers();
});

const seconds = (count: number) => vi.advanceTimersByTime(count * 1000);

/** With the defaults: five failures, thirty seconds. */
const client = (overrides?: Partial<Settings>) => createTenantManagerClient(manager.settings(overrides));

type Client = ReturnType<typeof client>;

async function fail(own: Client, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    manager.respond = down;
    await expect(own.listActive()).rejects.toMatchObject(unavailable);
  }
}

async function opened(own = client()): Promise<Client> {
  await fail(own, 5);
  expect(own.breaker).toBe('open');
  manager.requests.length = 0;
  return own;
}

describe('closed', () => {
  test('five failures in a row open it, whichever they are and whoever asked', async () => {
    const own = client({ MULTI_TENANT_TIMEOUT: 0.05 });
    const failures: Respond[] = [
      json(500, { error: 'x' }),
      json(200, '<html>'),
      json(200, { unexpected: true }),
      (request) => void request.socket.destroy(),
      () => {},
    ];
    for (const [i, respond] of failures.entries()) {
      expect(own.breaker).toBe('closed');
      manager.respond = respond;
      const call = i % 2 ? own.listActive() : own.config(tenantId);
      await expect(call).rejects.toMatchObject(unavailable);
    }
    expect(own.breaker).toBe('open');
  });

  test('nobody there and an answer that is too long are failures, too', async () => {
    const own = client({ MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: 1 });
    manager.respond = json(200, ' '.repeat(11 * 1024 * 1024));
    await expect(own.listActive()).rejects.toMatchObject(unavailable);
    expect(own.breaker).toBe('open');
    const nobody = client({ MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: 1, MULTI_TENANT_URL: 'http://127.0.0.1:1' });
    await expect(nobody.listActive()).rejects.toMatchObject(unavailable);
    expect(nobody.breaker).toBe('open');
  });

  test.each<[string, Respond]>([
    ['2xx', empty],
    ['302', json(302, '', { location: '/' })],
    ['400', json(400, '')],
    ['401', json(401, '')],
    ['403', json(403, { status: 'suspended' })],
    ['404', json(404, '')],
    ['429', json(429, '<html>')],
  ])('an answer (%s) is a success and begins the count anew', async (_status, respond) => {
    const own = client();
    await fail(own, 4);
    manager.respond = respond;
    await own.listActive().catch(() => {});
    await fail(own, 4);
    expect(own.breaker).toBe('closed');
    await fail(own, 1);
    expect(own.breaker).toBe('open');
  });

  test('a caller’s cancellation is neither a failure that opens the breaker for all nor a success', async () => {
    const own = client();
    await fail(own, 4);
    for (let i = 0; i < 10; i++) {
      const { respond, asked } = holding();
      manager.respond = respond;
      const stop = new AbortController();
      const list = own.listActive(stop.signal);
      await asked;
      stop.abort(new Error('stopping'));
      await expect(list).rejects.toThrow('stopping');
    }
    expect(own.breaker).toBe('closed');
    await fail(own, 1);
    expect(own.breaker).toBe('open');
  });
});

describe('open', () => {
  test('calls fail at once, without a request, and say until when', async () => {
    const own = await opened();
    seconds(18);
    await expect(own.listActive()).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringMatching(/circuit breaker is open, next try in 12 s \(last failure: .*503/),
    });
    await expect(own.config(tenantId)).rejects.toMatchObject(rejected);
    expect(manager.requests).toHaveLength(0);
  });

  test('running tenants go on with what is known, past every expiry, however long it lasts', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'performance'] });
    const own = client();
    manager.respond = configured();
    const known = await own.config(tenantId);
    await opened(own);
    for (let hours = 0; hours < 48; hours++) {
      seconds(3600);
      manager.respond = down;
      expect(await own.config(tenantId)).toBe(known);
      expect(own.breaker).toBe('open');
      await expect(own.refresh(tenantId)).rejects.toMatchObject(rejected);
      await expect(own.config(canonicalTenantId('unknown'))).rejects.toMatchObject(rejected);
    }
    // One probe an hour, in this test’s hours.
    expect(manager.requests).toHaveLength(48);
    seconds(30);
    manager.respond = configured('renamed');
    expect((await own.config(tenantId)).slug).toBe('renamed');
    expect(own.breaker).toBe('closed');
  });

  test('administration is not blocked, and neither opens nor closes it', async () => {
    const own = client();
    manager.respond = down;
    for (let i = 0; i < 10; i++) await expect(own.suspend(tenantId)).rejects.toMatchObject(unavailable);
    expect(own.breaker).toBe('closed');
    await opened(own);
    manager.respond = json(200, { serviceName: 'matcher', status: 'suspended' });
    await own.suspend(tenantId);
    expect(own.breaker).toBe('open');
  });
});

describe('half-open', () => {
  test('exactly one probe goes through; the others fail at once instead of following it or waiting for it', async () => {
    const own = await opened();
    seconds(30);
    const { respond, asked, answer, count } = holding();
    manager.respond = respond;
    const calls = tenants.map((id) => own.config(id));
    const [first, ...others] = calls as [Promise<unknown>, ...Promise<unknown>[]];
    // While the probe is under way, the others have ended.
    for (const call of others) await expect(call).rejects.toMatchObject(rejected);
    await asked;
    expect(own.breaker).toBe('half-open');
    await expect(own.listActive()).rejects.toMatchObject(rejected);
    expect(count()).toBe(1);
    answer(configured());
    await expect(first).resolves.toMatchObject({ tenantId: tenants[0] });
    expect(own.breaker).toBe('closed');
    expect(manager.requests).toHaveLength(1);
  });

  test('a probe that fails opens it for the whole time again', async () => {
    const own = await opened();
    seconds(30);
    await fail(own, 1);
    expect(own.breaker).toBe('open');
    seconds(29);
    await expect(own.listActive()).rejects.toMatchObject(rejected);
    expect(manager.requests).toHaveLength(1);
    seconds(1);
    manager.respond = empty;
    await own.listActive();
    expect(own.breaker).toBe('closed');
  });

  test('a probe that is refused was answered, and closes it', async () => {
    const own = await opened();
    seconds(30);
    manager.respond = json(404, '');
    await expect(own.config(tenantId)).rejects.toMatchObject({ code: 'TENANT_NOT_FOUND' });
    expect(own.breaker).toBe('closed');
    await fail(own, 4);
    expect(own.breaker).toBe('closed');
  });

  test('a probe whose caller goes away neither closes it nor uses it up: the next call is the probe', async () => {
    const own = await opened();
    seconds(30);
    for (let i = 0; i < 3; i++) {
      const { respond, asked } = holding();
      manager.respond = respond;
      const stop = new AbortController();
      const list = own.listActive(stop.signal);
      await asked;
      expect(own.breaker).toBe('half-open');
      stop.abort(new Error('stopping'));
      await expect(list).rejects.toThrow('stopping');
      expect(own.breaker).toBe('open');
    }
    await fail(own, 1);
    // That one failed by itself.
    await expect(own.listActive()).rejects.toMatchObject(rejected);
    seconds(30);
    manager.respond = empty;
    await own.listActive();
    expect(own.breaker).toBe('closed');
  });

  test('failures that began before it opened do not open it again, neither half-open nor closed', async () => {
    const own = client();
    const early = holding();
    manager.respond = early.respond;
    const slow = tenants.slice(0, 10).map((id) => own.config(id));
    await vi.waitUntil(() => early.count() === slow.length);
    await opened(own);
    seconds(30);
    const probe = holding();
    manager.respond = probe.respond;
    const list = own.listActive();
    await probe.asked;
    early.answer(down);
    for (const call of slow) await expect(call).rejects.toMatchObject(unavailable);
    expect(own.breaker).toBe('half-open');
    probe.answer(empty);
    await list;
    expect(own.breaker).toBe('closed');
    await fail(own, 4);
    expect(own.breaker).toBe('closed');
  });
});

test('each change is a line in the log, and the state a metric', async () => {
  const { log, lines } = testLog();
  const metrics = createMetrics();
  const gauge = async () => (await metrics.breakerState.get()).values[0]?.value;
  const own = createTenantManagerClient(manager.settings(), { log, metrics });
  expect(await gauge()).toBe(0);
  await opened(own);
  expect(await gauge()).toBe(2);
  seconds(30);
  const { respond, asked, answer } = holding();
  manager.respond = respond;
  const list = own.listActive();
  await asked;
  expect(await gauge()).toBe(1);
  answer(empty);
  await list;
  expect(await gauge()).toBe(0);
  const changes = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg.includes('circuit breaker'));
  expect(changes).toMatchObject([
    { level: 'warn', state: 'open', reason: 'The Tenant Manager answered 503', nextProbeInSec: 30 },
    { level: 'info', state: 'half-open' },
    { level: 'info', state: 'closed' },
  ]);
});
