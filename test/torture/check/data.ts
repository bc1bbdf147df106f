import { succeeded } from './jobs.ts';
import type { ExpectedTenant, FileRecord, Finding, TenantState, TransactionRow } from './state.ts';

/** What the jobs have left in the tables. */

/** Where a record has its place: the same one is loaded once. */
const place = (context: string, source: string, id: string) => `${context}/${source}/${id}`;

interface Loaded extends FileRecord {
  context: string;
  source: string;
}

/** The records of all files whose jobs have succeeded. */
function recordsOf({ jobs }: ExpectedTenant, state: TenantState): Map<string, Loaded> {
  const ended = succeeded(state);
  const records = new Map<string, Loaded>();
  for (const { id, file } of jobs) {
    if (!file || !ended.has(id)) continue;
    const { context, source } = file;
    for (const record of file.records) records.set(place(context, source, record.id), { ...record, context, source });
  }
  return records;
}

export function checkTransactions(expected: ExpectedTenant, state: TenantState): Finding[] {
  const { name } = expected;
  const findings: Finding[] = [];
  const say = (what: string, job?: string) => findings.push({ tenant: name, what, ...(job !== undefined && { job }) });
  const wanted = recordsOf(expected, state);
  for (const row of state.transactions) {
    const where = place(row.context, row.source, row.external_id);
    const record = wanted.get(where);
    if (!record) say(`the transaction ${where} is there twice, or is in none of its files`);
    else if (!isSame(row, record)) say(`the transaction ${where} is not as its file has it`);
    wanted.delete(where);
  }
  for (const where of wanted.keys()) say(`the transaction ${where} is in a file that was loaded, and is not there`);

  const files = new Map(expected.jobs.flatMap(({ id, file }) => (file ? [[id, file] as const] : [])));
  const records = new Map(state.jobs.map((row) => [row.id, row]));
  let loaded = 0;
  const loads = new Map<string, number>();
  for (const { job_id: job, context, source, records: count } of state.loads) {
    const file = files.get(job);
    loaded += count;
    loads.set(job, (loads.get(job) ?? 0) + count);
    if (!file) say('a load is of no job that loads', job);
    else if (file.context !== context || file.source !== source) say(`its load is of ${context}/${source}`, job);
  }
  if (loaded !== state.transactions.length)
    say(`the loads have ${loaded} records, and there are ${state.transactions.length} transactions`);
  for (const [job, file] of files) {
    const record = records.get(job);
    if (record?.state !== 'SUCCEEDED') continue;
    const { records: read, added, known, rejected } = record.result;
    if (read !== file.records.length || added + known !== read || rejected !== 0 || added !== (loads.get(job) ?? 0)) {
      const told = `${read} read, ${added} added, ${known} known, ${rejected} rejected`;
      say(`says ${told}; its file has ${file.records.length} records, its load ${loads.get(job) ?? 0}`, job);
    }
  }
  for (const { job_id: job, row, code } of state.rejected) say(`record ${row} of its file was rejected: ${code}`, job);
  return findings;
}

function isSame(row: TransactionRow, record: Loaded): boolean {
  const { amount, currency, day, description, metadata } = row;
  return (
    Number(amount) === Number(record.amount) &&
    currency === record.currency &&
    day === record.date &&
    description === record.text &&
    metadata.ref === record.ref
  );
}

/** Holds for a tenant whose contexts were each matched once more when everything had been loaded. */
export function checkMatches(expected: ExpectedTenant, state: TenantState): Finding[] {
  const { name } = expected;
  const findings: Finding[] = [];
  const say = (what: string) => findings.push({ tenant: name, what });
  const records = recordsOf(expected, state);
  const contextNames = new Map(state.contexts.map(({ id, name }) => [id, name]));
  const transactions = new Map(state.transactions.map((row) => [row.id, row]));
  const recordOf = (transaction: string) => {
    const row = transactions.get(transaction);
    return row && records.get(place(row.context, row.source, row.external_id));
  };

  const wanted = new Map<string, string[]>();
  for (const { context, pair, id } of records.values()) {
    if (pair === undefined) continue;
    const key = `${context}/${pair}`;
    wanted.set(key, [...(wanted.get(key) ?? []), id]);
  }
  for (const [key, ids] of wanted) if (ids.length !== 2) wanted.delete(key);
  const pairs = wanted.size;

  const matched = new Set<string>();
  const items = Map.groupBy(state.items, ({ group_id }) => group_id);
  for (const { id, context_id: context, status } of state.groups) {
    const members = items.get(id) ?? [];
    items.delete(id);
    for (const { transaction_id } of members) matched.add(transaction_id);
    const [left, right] = ['L', 'R'].map((side) => members.filter((item) => item.side === side));
    const [one, other] = [left, right].map((side) => recordOf(side?.[0]?.transaction_id ?? ''));
    const key = `${contextNames.get(context)}/${one?.pair}`;
    if (
      members.length !== 2 ||
      status !== 'CONFIRMED' ||
      !one ||
      !other ||
      one.pair !== other.pair ||
      !wanted.delete(key)
    ) {
      say(`the ${status} group ${id} of ${members.length} matches ${one?.id} with ${other?.id}, or does so once more`);
    }
  }
  for (const [id, members] of items) say(`${members.length} matched items are of group ${id}, which is not there`);
  for (const [key, ids] of wanted) say(`the pair ${key} (${ids.join(', ')}) is not matched`);

  const total = state.runs.reduce((sum, { matched }) => sum + matched, 0);
  if (total !== pairs) say(`the runs say that they matched ${total} pairs, and there are ${pairs}`);
  const open = new Set([...transactions.keys()].filter((id) => !matched.has(id)));
  for (const { transaction_id: id } of state.exceptions) {
    if (!open.delete(id))
      say(`${transactions.get(id)?.external_id ?? id} has an exception, and is matched or not there`);
  }
  for (const id of open) say(`${transactions.get(id)?.external_id} is neither matched nor an exception`);
  return [...findings, ...onePerJob(expected, state, 'matching.run', state.runs)];
}

/** Each succeeded job of a type has one row, and no other job has any. */
export function onePerJob(
  { name, jobs }: ExpectedTenant,
  state: TenantState,
  type: string,
  rows: readonly { job_id: string }[],
): Finding[] {
  const ended = succeeded(state);
  const found = Map.groupBy(rows, ({ job_id }) => job_id);
  const wanted = new Set(jobs.flatMap((job) => (job.type === type && ended.has(job.id) ? [job.id] : [])));
  return [...new Set([...found.keys(), ...wanted])].flatMap((job) => {
    const [count, right] = [found.get(job)?.length ?? 0, wanted.has(job) ? 1 : 0];
    return count === right
      ? []
      : [{ tenant: name, job, what: `has left ${count} ${type} results in place of ${right}` }];
  });
}
