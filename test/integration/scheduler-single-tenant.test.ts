import { randomBytes, randomUUID } from 'node:crypto';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { migrate } from '@matcher/shared/postgres/migrate.ts';
import { jobQueue } from '@matcher/shared/rabbitmq/topology.ts';
import { openLink } from '@matcher/shared/rabbitmq/vhost-link.ts';
import { singleTenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { Client } from 'pg';
import { expect, test, vi } from 'vitest';
import { startScheduler } from '../../workers/scheduler/start.ts';
import { createBucket } from '../support/bucket.ts';
import { simpleContext } from '../support/contexts.ts';
import { openTestDatabases } from '../support/databases.ts';
import { everySecond } from '../support/scheduler.ts';
import { management } from '../support/tenant-manager.ts';
import { testLog } from '../support/test-log.ts';

const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 50_000, interval: 20 });

test('in single-tenant mode the one tenant is scheduled and looked after, without prefixes', async () => {
  const databases = await openTestDatabases();
  const { postgres } = await databases.create();
  const bucket = await createBucket();
  const vhost = `single-${randomBytes(6).toString('hex')}`;
  await management(databases.settings, 'PUT', `vhosts/${vhost}`);
  const settings = loadSettings('worker', {
    ...process.env,
    MULTI_TENANT_ENABLED: 'false',
    ENV_NAME: `test-${vhost}`,
    DEFAULT_TENANT_ID: randomUUID(),
    POSTGRES_DB: postgres.database,
    RABBITMQ_VHOST: vhost,
    OBJECT_STORAGE_BUCKET: bucket.name,
    SERVER_ADDRESS: '127.0.0.1:0',
  });
  const { log } = testLog();
  const config = singleTenantConfig(settings);
  const client = new Client(connectionOptions(config.postgres, settings, 'test'));
  await client.connect();
  await migrate(client);
  const { rows } = await client.query(
    `INSERT INTO contexts (name, type, definition) VALUES ('bank', '1:1', $1) RETURNING id`,
    [JSON.stringify({ ...simpleContext(), schedule: everySecond })],
  );
  const key = 'exports/bank/old/0a1b2c3d/old.csv';
  await bucket.put(key, 'x');
  await client.query(
    `INSERT INTO exports (job_id, context_id, report, format, object_key, file_name, rows, bytes, sha256, expires_at)
     VALUES ('old', $1, 'MATCHED', 'CSV', $2, 'old.csv', 0, 1, '', now() - interval '1 day')`,
    [rows[0].id, key],
  );
  const link = await openLink(config.rabbitmq, { name: 'test', log }, new AbortController().signal);
  const channel = await link.model.createChannel();
  const ids: string[] = [];
  await channel.consume(jobQueue('matching.run'), (message) => message && ids.push(message.properties.messageId), {
    noAck: true,
  });
  const scheduler = await startScheduler(settings, log);
  try {
    await until(() => ids.length >= 2);
    expect(ids[0]).toMatch(/^schedule:bank:/);
    await until(async () => (await bucket.keys()).length === 0);
  } finally {
    await scheduler.stop();
    await link.model.close();
    await client.end();
    await management(databases.settings, 'DELETE', `vhosts/${vhost}`);
    await bucket.remove();
    await databases.close();
  }
});
