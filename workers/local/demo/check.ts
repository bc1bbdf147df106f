import { createHash } from 'node:crypto';
import { parse } from 'csv-parse/sync';
import type { Sample } from '../samples/sample.ts';
import type { Reconciled } from './command-line.ts';

/** Differences shown of one kind; the count says how many there are. */
const shown = 3;

/** Holds a tenant's result, down to every pair in its export, against what the sample's generator knows. Returns what differs. */
export async function differencesFrom(sample: Sample, result: Reconciled): Promise<string[]> {
  const { truth } = sample;
  const differences = [
    ...unequal('records read', { left: result.left, right: result.right }, truth.recordsRead),
    ...unequal('matched by rule', result.matched, truth.matchedByRule),
    ...unequal('open', result.open, { left: truth.open.left.length, right: truth.open.right.length }),
    ...unequal('exceptions', result.exceptions, truth.exceptionsByReason),
    ...unequal('rejected records', rejectedBySide(result), countBySide(truth.bad)),
  ];
  const matched = await downloadReport(result, 'MATCHED');
  const pairs = matched.map((row) => `${row.left_external_id} = ${row.right_external_id} by ${row.rule}`);
  const expected = truth.pairs.map(({ left, right, rule }) => `${left} = ${right} by ${rule}`);
  differences.push(...unequalSets('pairs in the export', pairs, expected));
  const unmatched = await downloadReport(result, 'UNMATCHED');
  differences.push(
    ...unequalSets(
      'open records in the export',
      unmatched.map((row) => `${row.side} ${row.external_id}`),
      [...truth.open.left.map((id) => `LEFT ${id}`), ...truth.open.right.map((id) => `RIGHT ${id}`)],
    ),
  );
  return differences;
}

/** Fetches a report through its link, as its receiver would, and checks that it is the file that was announced. */
export async function downloadReport(result: Reconciled, report: string): Promise<Record<string, string>[]> {
  const found = result.exports.find((each) => each.report === report);
  if (!found) throw new Error(`${result.tenantId} has no export ${report}`);
  const response = await fetch(found.url);
  if (!response.ok) throw new Error(`the link to ${report} of ${result.tenantId} answers ${response.status}`);
  const bytes = Buffer.from(await response.arrayBuffer());
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== found.sha256 || bytes.length !== found.bytes) {
    throw new Error(`the file behind the link to ${report} of ${result.tenantId} is not the one announced`);
  }
  const rows = parse(bytes, { columns: true }) as Record<string, string>[];
  if (rows.length !== found.rows)
    throw new Error(`${report} of ${result.tenantId} has ${rows.length} rows, not ${found.rows}`);
  return rows;
}

function unequal(what: string, got: Record<string, number>, expected: Record<string, number>): string[] {
  const names = [...new Set([...Object.keys(got), ...Object.keys(expected)])];
  return names
    .filter((name) => (got[name] ?? 0) !== (expected[name] ?? 0))
    .map((name) => `${what}, ${name}: ${got[name] ?? 0} instead of ${expected[name] ?? 0}`);
}

function unequalSets(what: string, got: readonly string[], expected: readonly string[]): string[] {
  const have = new Set(got);
  const want = new Set(expected);
  const list = (kind: string, items: string[]) =>
    items.length === 0 ? [] : [`${what}: ${items.length} ${kind}, such as ${items.slice(0, shown).join('; ')}`];
  return [
    ...list(
      'are missing',
      expected.filter((item) => !have.has(item)),
    ),
    ...list(
      'should not be there',
      got.filter((item) => !want.has(item)),
    ),
    ...list(
      'are there twice',
      got.filter((item, index) => have.size < got.length && got.indexOf(item) !== index),
    ),
  ];
}

function rejectedBySide(result: Reconciled): Record<string, number> {
  const bySide: Record<string, number> = {};
  for (const { side, rejected } of result.sources) bySide[side] = (bySide[side] ?? 0) + rejected;
  return bySide;
}

function countBySide(bad: Sample['truth']['bad']): Record<string, number> {
  const bySide: Record<string, number> = {};
  for (const { side } of bad) bySide[side] = (bySide[side] ?? 0) + 1;
  return bySide;
}
