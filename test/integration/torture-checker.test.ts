import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBucket, type TestBucket } from '../support/bucket.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';
import { openVhost } from '../support/tenant-manager.ts';
import { type CheckedTenant, check } from '../torture/check/check.ts';
import { readDatabase, readVhost, recordEvents } from '../torture/check/read.ts';
import type { Bucket, ExpectedTenant } from '../torture/check/state.ts';
import { Ledger } from '../torture/ledger.ts';
import { bucketOf, expectationOf } from '../torture/result.ts';
import {
  contextJob,
  csvOf,
  exportJob,
  matchingJob,
  objectKeyOf,
  type PlannedJob,
  recordsOf,
  tenantName,
  tenantNames,
} from '../torture/work.ts';

/** The torture's checker, with a state that is as it should be, and with one that was damaged in a single place. */

let bucket: TestBucket;
let fleet: TestFleet;
let tenants: { tenant: TestTenant; name: string; ledger: Ledger; database: Client }[];

beforeAll(async () => {
  bucket = await createBucket();
  fleet = await startFleet({ overrides: { OBJECT_STORAGE_BUCKET: bucket.name } });
  tenants = [];
  for (const index of [0, 1]) {
    const tenant = await fleet.tenant();
    const { host, port, database, user, password } = tenant.config.postgres;
    const client = new Client({ host, port, database, user, password });
    await client.connect();
    await recordEvents({ ...tenant.config.rabbitmq, username: tenant.config.rabbitmq.user });
    tenants.push({ tenant, name: tenantName(index), ledger: new Ledger(), database: client });
  }
  for (const { tenant, name, ledger } of tenants) {
    for (const job of await jobsOf(name)) {
      ledger.give(job);
      if (job.file) await tenant.objects.put(objectKeyOf(job.id), csvOf(recordsOf(name, job.file)));
      await tenant.done(job.type, job.body as never, job.id);
      const entry = ledger.entries.get(job.id);
      if (entry) entry.confirmed = true;
    }
    await until(async () => (await tenant.query('SELECT FROM outbox')).length === 0);
  }
});
afterAll(async () => {
  for (const { database } of tenants ?? []) await database.end();
  await fleet?.close();
  await bucket?.remove();
});

async function jobsOf(name: string): Promise<PlannedJob[]> {
  const load = (source: 'ledger' | 'statement', from: number, to: number): PlannedJob => {
    const id = `${name}-ingestion-${source}-${from}`;
    const body = { version: 1, context: 'bank', source, objectKey: objectKeyOf(id), format: 'CSV' };
    const file = { context: 'bank', source, from, to };
    return { id, tenant: name, type: 'ingestion.run', body, at: 0, twice: false, file };
  };
  return [
    contextJob(name, 'bank', `${name}-context-1`),
    load('ledger', 0, 9),
    // One record of the file before comes again.
    load('ledger', 9, 14),
    load('statement', 0, 11),
    matchingJob(name, 'bank', `${name}-matching-1`),
    exportJob(name, 'bank', `${name}-export-1`, 'MATCHED'),
  ];
}

/** What the checker finds now. */
async function findings(change: (tenants: CheckedTenant[]) => void = () => {}): Promise<string[]> {
  const found: CheckedTenant[] = [];
  for (const { tenant, name, ledger, database } of tenants) {
    const { rabbitmq } = tenant.config;
    const expected: ExpectedTenant = expectationOf({ id: tenant.id, name }, ledger);
    const state = { ...(await readDatabase(database)), ...(await readVhost({ ...rabbitmq, username: rabbitmq.user })) };
    found.push({ expected, state });
  }
  change(found);
  const objects: Bucket = await bucketOf({ s3: bucket.s3, bucket: bucket.name });
  const verdict = await check(found, objects, tenantNames);
  return verdict.findings.map(({ tenant, job, what }) => `${tenant} ${job ?? '-'} ${what}`);
}

/** Damages a tenant's database, looks, and takes it back. */
async function damaged(...statements: string[]): Promise<string[]> {
  const [{ database }] = tenants as [(typeof tenants)[number]];
  await database.query('BEGIN');
  try {
    for (const statement of statements) await database.query(statement);
    const [mine, ...others] = tenants as [(typeof tenants)[number]];
    // The reader's own transaction would not see what is not committed.
    const proxy = { query: async (sql: string) => (/^(BEGIN|COMMIT)/.test(sql) ? { rows: [] } : database.query(sql)) };
    tenants = [{ ...mine, database: proxy as unknown as Client }, ...others];
    try {
      return await findings();
    } finally {
      tenants = [mine, ...others];
    }
  } finally {
    await database.query('ROLLBACK');
  }
}

test('what is as it should be has no findings', async () => {
  expect(await findings()).toEqual([]);
});

test('a job that was confirmed and is not there is found, and one whose publisher died before the confirm is not missed', async () => {
  const [{ ledger }] = tenants as [(typeof tenants)[number]];
  const job = matchingJob('ten01', 'bank', 'ten01-matching-lost');
  ledger.give(job);
  expect(await findings()).toEqual([]);
  const entry = ledger.entries.get(job.id);
  if (entry) entry.confirmed = true;
  expect(await findings()).toEqual(['ten01 ten01-matching-lost was confirmed to its publisher and has no record']);
  ledger.entries.delete(job.id);
});

test('a job that nobody published, one that failed, one that still runs, and one with another body are found', async () => {
  const copy = `INSERT INTO jobs (id, type, body, body_sha256, state) SELECT 'ten01-nobody', type, body, body_sha256, 'RUNNING' FROM jobs LIMIT 1`;
  expect(await damaged(copy)).toEqual(['ten01 ten01-nobody has a record, and nobody published it']);
  const failed = `UPDATE jobs SET state = 'FAILED', error = '{"code": "PROCESS_DIED", "message": "thrice"}', deaths = 3 WHERE id = 'ten01-export-1'`;
  expect(await damaged(failed)).toContain(
    'ten01 ten01-export-1 is FAILED, after 1 attempts and 3 deaths: PROCESS_DIED thrice',
  );
  expect(await damaged(`UPDATE jobs SET state = 'RUNNING' WHERE id = 'ten01-context-1'`)).toContain(
    'ten01 ten01-context-1 is RUNNING, after 1 attempts and 0 deaths: no error',
  );
  expect(await damaged(`UPDATE jobs SET body = '{"version": 1}' WHERE id = 'ten01-context-1'`)).toEqual([
    'ten01 ten01-context-1 is recorded with another body than it was published with',
  ]);
});

test('a scheduled run that nothing fired, that came too early, or that was not done once is found', async () => {
  const fired = (id: string) => [
    `INSERT INTO jobs (id, type, body, body_sha256, state) SELECT '${id}', type, body, body_sha256, 'SUCCEEDED' FROM jobs WHERE id = 'ten01-matching-1'`,
    `INSERT INTO match_runs (job_id, context_id, mode, statistics) SELECT '${id}', context_id, mode, '{"matched": 0}' FROM match_runs`,
  ];
  const once = 'schedule:bank:2026-01-01T00:01:00Z';
  const unsaid = 'has succeeded, and 0 events with ids of their own say so';
  expect(await damaged(...fired(once))).toEqual([`ten01 ${once} ${unsaid}`]);
  const [record = ''] = fired(once);
  expect(await damaged(record)).toContain(`ten01 ${once} has left 0 matching.run results in place of 1`);
  for (const again of ['schedule:bank:2026-01-01T00:01:00.000Z', 'schedule:bank:2026-01-01T00:01:30Z']) {
    expect(await damaged(...fired(once), ...fired(again).slice(0, 1))).toContain(
      `ten01 ${again} is of no firing of its schedule`,
    );
  }
  const other = 'schedule:cards:2026-01-01T00:01:00Z';
  expect(await damaged(...fired(other))).toContain(`ten01 ${other} was fired, and cards has no schedule`);
  const early = 'schedule:bank:2099-01-01T00:01:00Z';
  expect(await damaged(...fired(early))).toContainEqual(
    expect.stringMatching(`${early} was begun \\d.* s before it was due`),
  );
});

test('effects that happened twice, or not at all, are found', async () => {
  expect(await damaged('UPDATE contexts SET revision = revision + 1')).toEqual([
    'ten01 - context bank has revision 2, and 1 jobs applied it',
  ]);
  const again = `INSERT INTO transactions (id, source_id, external_id, amount, currency, occurred_at, description, metadata)
                 SELECT id + 1000, source_id + 1000, external_id, amount, currency, occurred_at, description, metadata FROM transactions LIMIT 1`;
  expect(await damaged(again)).toContainEqual(expect.stringContaining('is there twice, or is in none of its files'));
  const gone = `DELETE FROM transactions WHERE external_id = 'ten01-bank-ledger-3'`;
  expect(await damaged(gone)).toContain(
    'ten01 - the transaction bank/ledger/ten01-bank-ledger-3 is in a file that was loaded, and is not there',
  );
  const changed = `UPDATE transactions SET amount = amount + 1 WHERE external_id = 'ten01-bank-ledger-3'`;
  expect(await damaged(changed)).toEqual([
    'ten01 - the transaction bank/ledger/ten01-bank-ledger-3 is not as its file has it',
  ]);
  const unmatched = `DELETE FROM match_items WHERE transaction_id = (SELECT id FROM transactions WHERE external_id = 'ten01-bank-ledger-3')`;
  expect(await damaged(unmatched)).toContainEqual(expect.stringContaining('the pair bank/ten01-bank-pair-3'));
  const crossed = `UPDATE match_items SET group_id = (SELECT min(group_id) + max(group_id) FROM match_items) - group_id WHERE side = 'L'`;
  expect(await damaged(crossed)).toContainEqual(expect.stringContaining('or does so once more'));
  expect(await damaged('DELETE FROM match_runs')).toContain(
    'ten01 ten01-matching-1 has left 0 matching.run results in place of 1',
  );
  expect(await damaged('DELETE FROM exceptions')).toContain(
    'ten01 - ten01-bank-ledger-4 is neither matched nor an exception',
  );
});

test('a row of another tenant is found, wherever it is', async () => {
  const transaction = `UPDATE transactions SET description = 'ten02 ledger 3' WHERE external_id = 'ten01-bank-ledger-3'`;
  expect(await damaged(transaction)).toContainEqual(
    expect.stringContaining('a row among its transactions is of ten02'),
  );
  const exported = `UPDATE exports SET object_key = 'exports/bank/ten02-export-1/x.csv'`;
  expect(await damaged(exported)).toContainEqual(expect.stringContaining('a row among its exports is of ten02'));
  expect(await damaged(`UPDATE tenant SET tenant_id = 'other'`)).toEqual([
    'ten01 - the database says that it is of other',
  ]);
});

test('a job without its event, one with two, events that differ, and another tenant’s event are found', async () => {
  type Events = CheckedTenant['state']['events'];
  const change = (how: (events: Events, others: Events) => void) =>
    findings(([one, two]) => how(one?.state.events ?? [], two?.state.events ?? []));
  const of = (events: Events, job: string) =>
    events.findIndex(({ text }) => text.includes(`"jobId":"${job}"`) || text.includes(`"jobId": "${job}"`));
  expect(await change((events) => events.splice(of(events, 'ten01-context-1'), 1))).toEqual([
    'ten01 ten01-context-1 has succeeded, and 0 events with ids of their own say so',
  ]);
  const twin = (events: Events, eventId: string) => {
    const event = events[of(events, 'ten01-context-1')] as Events[number];
    const { eventId: was } = JSON.parse(event.text);
    return { ...event, messageId: eventId || was, text: event.text.replace(was, eventId || was) };
  };
  // The same event once more is allowed.
  expect(await change((events) => events.push(twin(events, '')))).toEqual([]);
  expect(await change((events) => events.push(twin(events, crypto.randomUUID())))).toEqual([
    'ten01 ten01-context-1 has succeeded, and 2 events with ids of their own say so',
  ]);
  expect(
    await change((events) =>
      events.push({ ...twin(events, ''), text: twin(events, '').text.replace('"revision"', '"rev"') }),
    ),
  ).toContainEqual(expect.stringContaining('differ'));
  expect(await change((events, others) => events.push(others[0] as Events[number]))).toContainEqual(
    expect.stringContaining('a row among its events is of ten02'),
  );
});

test('a second event and a dead letter are read from the queues as they are', async () => {
  const [{ tenant }] = tenants as [(typeof tenants)[number]];
  const connection = await openVhost(tenant.config.rabbitmq);
  const channel = await connection.createConfirmChannel();
  const event = {
    eventId: crypto.randomUUID(),
    eventType: 'context.applied',
    tenantId: tenant.id,
    jobId: 'ten01-nobody',
  };
  channel.publish('matcher.events', event.eventType, Buffer.from(JSON.stringify(event)), {
    messageId: event.eventId,
    headers: { 'X-Tenant-ID': tenant.id },
  });
  channel.publish('matcher.dead', '', Buffer.from('{}'), {
    messageId: 'ten01-dead',
    headers: { 'X-Death-Code': 'PROCESS_DIED', 'X-Death-Reason': 'thrice' },
  });
  await channel.waitForConfirms();
  try {
    const found = await findings();
    expect(found).toContain('ten01 ten01-nobody an event context.applied tells of a job that has no record');
    expect(found).toContain('ten01 ten01-dead is a dead letter: PROCESS_DIED thrice');
    expect(found).toContain('ten01 - 1 messages are in matcher.dead');
  } finally {
    for (const queue of ['matcher.dead', 'torture.events']) {
      const messages = [];
      for (let message = await channel.get(queue); message; message = await channel.get(queue)) messages.push(message);
      for (const message of messages) {
        if (
          ['ten01-nobody', 'ten01-dead'].some((id) => `${message.properties.messageId}${message.content}`.includes(id))
        ) {
          channel.ack(message);
        }
      }
    }
    await channel.close();
    await connection.close();
  }
  expect(await findings()).toEqual([]);
});

test('an object that is missing, has other content, or lies elsewhere is found', async () => {
  const [{ tenant }] = tenants as [(typeof tenants)[number]];
  const [{ object_key }] = await tenant.query('SELECT object_key FROM exports');
  const Key = `${tenant.id}/${object_key}`;
  const content = await bucket.text(Key);
  const put = (key: string, text: string) =>
    bucket.s3.send(new PutObjectCommand({ Bucket: bucket.name, Key: key, Body: Buffer.from(text) }));
  const remove = (key: string) => bucket.s3.send(new DeleteObjectCommand({ Bucket: bucket.name, Key: key }));
  await remove(Key);
  expect(await findings()).toEqual([`ten01 ten01-export-1 its object ${Key} is not there`]);
  await put(Key, content.replaceAll('ten01', 'ten02'));
  expect(await findings()).toEqual([
    'ten01 ten01-export-1 its object has another SHA-256 than its record',
    'ten01 ten01-export-1 its object holds data of ten02',
  ]);
  await put(Key, content);
  await put('exports/bank/x.csv', content);
  expect(await findings()).toEqual([`- - the object exports/bank/x.csv is under no tenant's prefix`]);
  await remove('exports/bank/x.csv');
  expect(await findings()).toEqual([]);
});

test('the checker shares no code with the workers: it imports the bare drivers and itself', () => {
  const folder = join(import.meta.dirname, '../torture/check');
  const imported = globSync('*.ts', { cwd: folder }).flatMap((file) =>
    [...readFileSync(join(folder, file), 'utf8').matchAll(/from '([^']+)'/g)].map(([, name]) => name ?? ''),
  );
  expect(imported.filter((name) => !/^(node:|\.\/)|^(pg|amqplib)$/.test(name))).toEqual([]);
});
