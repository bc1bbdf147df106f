import { createHash, randomUUID } from 'node:crypto';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { eventsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { csv, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';

/** Two tenants whose jobs have everything in common: ids, context, sources, file names, external ids, references. Only the amounts differ. */

const pairs = 60;
const objectKeys = { ledger: 'uploads/2026-01/ledger.csv', statement: 'uploads/2026-01/statement.csv' } as const;

let fleet: TestFleet;
let tenants: [TestTenant, TestTenant];
/** One more than the other's, so that every amount says whose it is. */
const cents = new Map<TestTenant, string>();

beforeAll(async () => {
  fleet = await startFleet({ workers: 2 });
  tenants = await Promise.all([fleet.tenant(), fleet.tenant()]);
  for (const [i, tenant] of tenants.entries()) cents.set(tenant, `${i + 1}${i + 1}`);
});
afterAll(() => fleet?.close());

const lines = (tenant: TestTenant) =>
  csv(Array.from({ length: pairs }, (_, i) => ({ id: `id-${i}`, amount: `${i}.${cents.get(tenant)}`, ref: `R${i}` })));

test('work at the same time, and nothing of one is in the other’s database, bucket, events or results', async () => {
  const ids = {
    apply: randomUUID(),
    ledger: randomUUID(),
    statement: randomUUID(),
    match: randomUUID(),
    export: randomUUID(),
  };
  const heard = new Map<TestTenant, { header: unknown; tenantId: unknown }[]>();
  const connections = await Promise.all(
    tenants.map(async (tenant) => {
      const connection = await openVhost(tenant.config.rabbitmq);
      const channel = await connection.createChannel();
      const { queue } = await channel.assertQueue('', { exclusive: true });
      await channel.bindQueue(queue, eventsExchange, '#');
      const events: { header: unknown; tenantId: unknown }[] = [];
      heard.set(tenant, events);
      await channel.consume(queue, (message) => {
        if (!message) return;
        const { tenantId } = JSON.parse(String(message.content));
        events.push({ header: message.properties.headers?.[tenantHeader], tenantId });
      });
      return connection;
    }),
  );

  const results = await Promise.all(
    tenants.map(async (tenant) => {
      await tenant.done('context.apply', { version: 1, context: simpleContext() }, ids.apply);
      await Promise.all(
        (['ledger', 'statement'] as const).map(async (source) => {
          await tenant.objects.put(objectKeys[source], lines(tenant));
          const body = { version: 1, context: 'bank', source, objectKey: objectKeys[source], format: 'CSV' } as const;
          await tenant.done('ingestion.run', body, ids[source]);
        }),
      );
      const matched = await tenant.done('matching.run', { version: 1, context: 'bank' }, ids.match);
      const body = { version: 1, context: 'bank', report: 'MATCHED' } as const;
      return { tenant, matched, exported: await tenant.done('export.run', body, ids.export) };
    }),
  );

  for (const { tenant, matched, exported } of results) {
    expect(matched).toMatchObject({ matched: pairs });
    const own = cents.get(tenant);
    const [counted] = await tenant.query(
      `SELECT count(*)::int AS all, count(*) FILTER (WHERE amount % 1 = 0.${own})::int AS own FROM transactions`,
    );
    expect(counted).toEqual({ all: 2 * pairs, own: 2 * pairs });
    expect(await tenant.query('SELECT id FROM jobs WHERE id = ANY($1)', [Object.values(ids)])).toHaveLength(5);

    const file = Buffer.from(await (await fetch(exported.url)).arrayBuffer());
    expect(createHash('sha256').update(file).digest('hex')).toBe(exported.sha256);
    const rows = parse(file, { columns: true }) as Record<string, string>[];
    expect(rows).toHaveLength(pairs);
    expect(rows.every((row) => row.left_amount?.endsWith(`.${own}`) && row.right_amount?.endsWith(`.${own}`))).toBe(
      true,
    );
    const link = new URL(exported.url);
    expect(link.pathname).toContain(`/${tenant.id}/`);

    const keys = await Array.fromAsync(tenant.objects.list(''));
    expect(keys.toSorted()).toEqual([exported.objectKey, ...Object.values(objectKeys)].toSorted());
    const events = heard.get(tenant) ?? [];
    expect(events.length).toBeGreaterThanOrEqual(5);
    expect(new Set(events.flatMap(({ header, tenantId }) => [header, tenantId]))).toEqual(new Set([tenant.id]));
  }
  // The link of one tenant's export is no link to the other's.
  const [first, second] = results.map(({ tenant, exported }) => ({ tenant, ...exported }));
  const forged = first?.url.replace(`/${first.tenant.id}/`, `/${second?.tenant.id}/`) ?? '';
  expect((await fetch(forged)).status).toBe(403);
  await Promise.all(connections.map((connection) => connection.close()));
});
