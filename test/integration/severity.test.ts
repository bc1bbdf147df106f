import { afterAll, beforeAll, expect, test } from 'vitest';
import { HOUR_MS, severitySql, urgencyOf } from '../../workers/matching/severity.ts';
import { openTestDatabases, type TestDatabases } from '../support/databases.ts';

let databases: TestDatabases;
beforeAll(async () => {
  databases = await openTestDatabases();
});
afterAll(() => databases.close());

test('a run and the database are of one mind about how severe an exception is, at and around every border', async () => {
  const amounts = [1_000, 10_000, 100_000].flatMap((border) => [border - 1e-8, border, border + 1e-8, -border]);
  const ages = [24, 72, 120].flatMap((hours) => [-1, 0, 1].map((off) => hours * HOUR_MS + off));
  const cases = [...amounts.map((amount) => [amount, 0]), ...ages.map((age) => [0.01, age]), [100_000, 120 * HOUR_MS]];
  const sql = `SELECT ${severitySql} AS severity
    FROM (SELECT amount::numeric(28, 8) AS amount, NULL::numeric AS amount_base, now() - make_interval(secs => age / 1000) AS occurred_at, i
            FROM unnest($1::text[], $2::float8[]) WITH ORDINALITY AS asked (amount, age, i)) AS transactions ORDER BY i`;
  const rows = await databases.ask<{ severity: string }>(sql, [
    cases.map(([amount]) => (amount as number).toFixed(8)),
    cases.map(([, age]) => age),
  ]);
  const ofRun = cases.map(([amount, age]) => urgencyOf(Math.round((amount as number) * 1e8), age as number).severity);
  expect(ofRun).toEqual(rows.map(({ severity }) => severity));
  expect(new Set(ofRun).size).toBe(4);
});
