import { createHash } from 'node:crypto';
import { onePerJob } from './data.ts';
import type { Bucket, ExpectedTenant, Finding, TenantState } from './state.ts';

/** Finished exports are in the bucket as they are recorded. */
export async function checkExports(
  expected: ExpectedTenant,
  state: TenantState,
  bucket: Bucket,
  foreign: (text: string) => string | undefined,
): Promise<Finding[]> {
  const { name, id } = expected;
  const findings = onePerJob(expected, state, 'export.run', state.exports);
  const records = new Map(state.jobs.map((row) => [row.id, row]));
  for (const { job_id: job, object_key, rows, bytes, sha256 } of state.exports) {
    const say = (what: string) => findings.push({ tenant: name, job, what });
    const key = `${id}/${object_key}`;
    const length = bucket.objects.get(key);
    if (length === undefined) {
      say(`its object ${key} is not there`);
      continue;
    }
    const content = await bucket.read(key);
    const text = content.toString();
    const lines = text.split('\n').length - 2;
    if (length !== bytes || content.length !== bytes)
      say(`its object has ${content.length} bytes, listed as ${length}, recorded as ${bytes}`);
    if (createHash('sha256').update(content).digest('hex') !== sha256)
      say('its object has another SHA-256 than its record');
    if (lines !== rows) say(`its object has ${lines} rows, recorded are ${rows}`);
    const result = records.get(job)?.result;
    if (result?.objectKey !== object_key || result?.sha256 !== sha256 || result?.rows !== rows) {
      say('its record and its result are of different objects');
    }
    const other = foreign(text);
    if (other !== undefined) say(`its object holds data of ${other}`);
  }
  return findings;
}

/**
 * Every object lies under a tenant's prefix, is of one of its jobs, and says so.
 *
 * @returns also how many are of attempts that did not come to their end: the scheduler's maintenance removes them.
 */
export function checkObjects(
  tenants: readonly { expected: ExpectedTenant; state: TenantState }[],
  bucket: Bucket,
): [Finding[], number] {
  const findings: Finding[] = [];
  let leftovers = 0;
  const byId = new Map(tenants.map((tenant) => [tenant.expected.id, tenant]));
  for (const key of bucket.objects.keys()) {
    const [id = '', folder, ...rest] = key.split('/');
    const owner = byId.get(id);
    if (!owner) {
      findings.push({ tenant: '-', what: `the object ${key} is under no tenant's prefix` });
      continue;
    }
    const { expected, state } = owner;
    const job = folder === 'uploads' ? rest[0]?.replace(/\.csv$/, '') : rest[1];
    if ((folder !== 'uploads' && folder !== 'exports') || !expected.jobs.some((one) => one.id === job)) {
      findings.push({ tenant: expected.name, what: `the object ${key} is of none of its jobs` });
    }
    if (folder === 'exports' && !state.exports.some(({ object_key }) => `${id}/${object_key}` === key)) leftovers++;
  }
  return [findings, leftovers];
}
