import { createHash } from 'node:crypto';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { csv, load, loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, type TestTenant, until } from '../support/fleet.ts';

let fleet: TestFleet;
let tenant: TestTenant;

beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.close());
beforeEach(async () => {
  tenant = await fleet.tenant();
  await tenant.done('context.apply', { version: 1, context: simpleContext() });
});

/** Exports, downloads through the link, and checks that the file is the one announced. */
async function exported(report: 'MATCHED' | 'UNMATCHED' | 'EXCEPTIONS') {
  const result = await tenant.done('export.run', { version: 1, context: 'bank', report });
  const response = await fetch(result.url);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-disposition')).toContain(result.fileName);
  const bytes = Buffer.from(await response.arrayBuffer());
  expect(bytes.length).toBe(result.bytes);
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(result.sha256);
  const rows = parse(bytes, { columns: true }) as Record<string, string>[];
  expect(rows).toHaveLength(result.rows);
  return { result, rows };
}

test('MATCHED says who was matched with whom, by which rule and how surely, in exact decimals', async () => {
  await load(
    tenant,
    'ledger',
    csv([
      { id: 'l1', amount: '1234567890.10', ref: 'R1', date: '2026-01-15T10:00:00Z', text: 'Invoice 7' },
      { id: 'l2', amount: '500', currency: 'JPY', ref: 'R2' },
      { id: 'l3', amount: '1.2345', currency: 'KWD', ref: 'R3' },
    ]),
  );
  await load(
    tenant,
    'statement',
    csv([
      { id: 'r1', amount: '1234567890.1', ref: 'R1', date: '2026-01-18' },
      { id: 'r2', amount: '500', currency: 'JPY', ref: 'R2' },
      { id: 'r3', amount: '1.2345', currency: 'KWD', ref: 'R3' },
    ]),
  );
  await tenant.done('matching.run', { version: 1, context: 'bank' });
  const { rows, result } = await exported('MATCHED');
  expect(rows.find((row) => row.left_external_id === 'l1')).toMatchObject({
    rule: 'exact',
    status: 'CONFIRMED',
    confidence: '100',
    left_source: 'ledger',
    left_amount: '1234567890.10',
    left_currency: 'EUR',
    left_date: '2026-01-15T10:00:00Z',
    left_description: 'Invoice 7',
    right_source: 'statement',
    right_external_id: 'r1',
    right_amount: '1234567890.10',
    right_date: '2026-01-18T00:00:00Z',
    difference: '0.00',
    days_apart: '3',
  });
  expect(rows.find((row) => row.left_external_id === 'l2')).toMatchObject({ left_amount: '500', difference: '0' });
  expect(rows.find((row) => row.left_external_id === 'l3')).toMatchObject({ left_amount: '1.2345' });
  expect(result.objectKey.startsWith('exports/bank/')).toBe(true);
});

test('UNMATCHED has what is open and what no run has seen yet; EXCEPTIONS has reason, severity and due date', async () => {
  await load(tenant, 'ledger', csv([{ id: 'l1', amount: '-20000', ref: 'R1' }]));
  await tenant.done('matching.run', { version: 1, context: 'bank' });
  await load(tenant, 'statement', csv([{ id: 'r1', amount: '5', ref: 'R9' }]));
  const unmatched = await exported('UNMATCHED');
  expect(
    unmatched.rows.map(({ side, external_id, amount, reason }) => ({ side, external_id, amount, reason })),
  ).toEqual([
    { side: 'LEFT', external_id: 'l1', amount: '-20000.00', reason: 'UNMATCHED' },
    { side: 'RIGHT', external_id: 'r1', amount: '5.00', reason: 'NOT_RUN_YET' },
  ]);
  const { rows } = await exported('EXCEPTIONS');
  expect(rows).toMatchObject([{ external_id: 'l1', reason: 'UNMATCHED', severity: 'CRITICAL', status: 'OPEN' }]);
  expect(Date.parse(rows[0]?.due_at ?? '')).toBeGreaterThan(Date.now());
});

test('a cell that a spreadsheet would run as a formula is neutralised, a negative amount is not', async () => {
  const hostile = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '  =2', 'plain'];
  const lines = hostile.map((text, i) => ({ id: i === 0 ? '=cmd|calc' : `l${i}`, amount: '-7', ref: `R${i}`, text }));
  await load(tenant, 'ledger', csv(lines));
  const { rows } = await exported('UNMATCHED');
  expect(rows.map(({ description }) => description).toSorted()).toEqual(
    ['plain', ...hostile.slice(0, -1).map((text) => `'${text}`)].toSorted(),
  );
  expect(rows.some(({ external_id }) => external_id === "'=cmd|calc")).toBe(true);
  expect(new Set(rows.map(({ amount }) => amount))).toEqual(new Set(['-7.00']));
});

test('an empty report is a file with its header', async () => {
  const { rows, result } = await exported('MATCHED');
  expect(rows).toEqual([]);
  expect(result.bytes).toBeGreaterThan(100);
});

test('an attempt writes to a file of its own, so that one that comes back late does not write over the finished one', async () => {
  await loadPairs(tenant, 3);
  const id = crypto.randomUUID();
  const body = { version: 1, context: 'bank', report: 'UNMATCHED' } as const;
  const first = await tenant.done('export.run', body, id);
  await tenant.query(
    `UPDATE jobs SET state = 'RUNNING', lease_until = now() - interval '1 second', result = NULL WHERE id = $1`,
    [id],
  );
  await tenant.query('DELETE FROM exports');
  await tenant.client.publish('export.run', body, { id });
  const entries = await until(async () => {
    const found = await tenant.query('SELECT sha256 FROM exports WHERE job_id = $1', [id]);
    return found.length > 0 ? found : undefined;
  });
  expect(entries).toEqual([{ sha256: first.sha256 }]);
  const again = await tenant.client.follow<'export.run'>(id);
  const [entry] = await tenant.query('SELECT object_key FROM exports WHERE job_id = $1', [id]);
  expect(entry.object_key).not.toBe(first.objectKey);
  expect(await tenant.objects.size(first.objectKey)).toBe(first.bytes);
  expect(again).toMatchObject({ state: 'SUCCEEDED' });
});

test('a context that is not there fails the job and leaves no object', async () => {
  const end = await tenant.run('export.run', { version: 1, context: 'nowhere', report: 'MATCHED' });
  expect(end).toMatchObject({ state: 'FAILED', error: { code: 'CONTEXT_NOT_FOUND' } });
  expect(await Array.fromAsync(tenant.objects.list('exports/'))).toEqual([]);
});
