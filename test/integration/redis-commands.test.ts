import { randomUUID } from 'node:crypto';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { readFleet } from '@matcher/shared/process/fleet-registry.ts';
import { jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { createRedis, tenantRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { KeySpace } from '@matcher/shared/tenancy/key-space.ts';
import { lifecycleChannel } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';

/** Whatever reaches more keys or channels than it names. */
const byPattern = ['keys', 'scan', 'sscan', 'hscan', 'zscan', 'psubscribe', 'pubsub', 'sort', 'flushdb', 'flushall'];

let fleet: TestFleet;
let sent: { name: string; args: string[] }[];

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
});
afterAll(() => fleet?.close());
beforeEach(() => {
  sent = [];
  const send = Redis.prototype.sendCommand;
  vi.spyOn(Redis.prototype, 'sendCommand').mockImplementation(function (this: Redis, command, ...rest) {
    sent.push({ name: command.name.toLowerCase(), args: command.args.map(String) });
    return Reflect.apply(send, this, [command, ...rest]);
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});

test('no command that takes a pattern reaches Redis, whatever tenants’ ids, events and messages look like', async () => {
  const worker = await fleet.worker();
  const tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  const redis = createRedis(fleet.settings, testLog().log);
  await until(() => redis.status === 'ready');
  await readFleet(redis, fleet.settings);

  const hostile = ['*', `${tenant.id.slice(0, -1)}?`, `[${tenant.id[0]}]*`, `${tenant.id}*`, '\\*'];
  const channel = lifecycleChannel(fleet.settings.MULTI_TENANT_ENVIRONMENT as string);
  const connection = await openVhost(tenant.config.rabbitmq);
  const jobs = await connection.createConfirmChannel();
  for (const id of hostile) {
    await redis.publish(channel, JSON.stringify({ event_type: 'tenant.cache.invalidate', tenant_id: id }));
    jobs.publish(jobsExchange, 'context.apply', Buffer.from('{"version":1}'), {
      messageId: randomUUID(),
      type: 'context.apply',
      headers: { [tenantHeader]: id },
    });
    expect(() => tenantRedis(redis, id as KeySpace)).toThrow(expect.objectContaining({ code: 'TENANT_REQUIRED' }));
    // As a key it is a key like any other.
    const own = tenantRedis(redis, tenant.id);
    await own.set('kept', 'x', 60);
    await own.delete(id);
    expect([await own.get(id), await own.get('kept')]).toEqual([null, 'x']);
  }
  await jobs.waitForConfirms();
  await until(() => fleet.lines.filter((line) => line.includes('TENANT_MISMATCH')).length >= hostile.length);
  await connection.close();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
  await worker.stop();
  redis.disconnect();

  const names = new Set(sent.map(({ name }) => name));
  expect(names).toContain('set');
  expect(names).toContain('subscribe');
  expect(byPattern.filter((name) => names.has(name))).toEqual([]);
});
