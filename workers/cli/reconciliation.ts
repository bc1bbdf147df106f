import { randomUUID } from 'node:crypto';
import { basename, join } from 'node:path';
import type { Side } from '@matcher/shared/jobs/contracts/context.ts';
import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import type { ContextFile } from './context-file.ts';
import { JobFailed, JobsFailed } from './failures.ts';
import { downloadExport, uploadFile } from './file-transfer.ts';
import type { Invocation } from './invocation.ts';
import { ingestionLine } from './job-texts.ts';
import type { SessionWithBucket } from './tenant-session.ts';
import { grouped } from './terminal-text.ts';

type RejectedRecord = JobResult<'ingestion.run'>['rejectedSample'][number];

/** What came of one source's files. */
export interface SourceSummary {
  source: string;
  side: Side;
  records: number;
  added: number;
  known: number;
  rejected: number;
  /** The first of them, with the file they stand in. */
  rejectedSample: (RejectedRecord & { file: string })[];
}

/** A whole reconciliation; the document of `matcher reconcile --json`. */
export interface ReconciliationSummary {
  tenantId: string;
  context: string;
  revision: number;
  sources: SourceSummary[];
  /** Records read per side. */
  left: number;
  right: number;
  /** Pairs by rule. */
  matched: Record<string, number>;
  confirmed: Record<string, number>;
  proposed: Record<string, number>;
  open: { left: number; right: number };
  exceptions: Record<string, number>;
  /** `file` is where it was downloaded to. */
  exports: (Omit<JobResult<'export.run'>, 'context'> & { file?: string })[];
  seconds: number;
}

/** Rejected records of a source that the summary holds. */
const sampleSize = 20;

/**
 * Takes a context file through its whole way: apply, ingest, match, export. Sources are loaded at the same time; the files
 * of one follow each other, since a worker takes one file of a source at a time anyway. A stage with a failure is the last;
 * what was loaded stays loaded.
 *
 * @param output is the folder that the exports are downloaded to.
 */
export async function reconcile(
  invocation: Invocation,
  session: SessionWithBucket,
  file: ContextFile,
  output: string | undefined,
): Promise<ReconciliationSummary> {
  const started = performance.now();
  const { out } = invocation;
  const { jobs } = session;
  const context = file.context.name;
  const { revision } = await jobs.run('context.apply', { version: 1, context: file.context }, 'apply');
  out.done('apply', `${context} is applied (revision ${revision})`);

  const sources = await all(file.sources.map((source) => ingest(invocation, session, context, source)));

  const match = await jobs.run('matching.run', { version: 1, context, mode: 'COMMIT' }, 'match');
  out.done(
    'match',
    `${grouped(match.matched)} pairs, open are ${grouped(match.open.left)} left, ${grouped(match.open.right)} right`,
  );

  const exports = await all(file.reports.map((report) => exportReport(invocation, session, context, report, output)));

  const readOn = (side: Side) => sources.filter((one) => one.side === side).reduce((sum, one) => sum + one.records, 0);
  const perRule = (field: 'matched' | 'confirmed' | 'proposed') =>
    Object.fromEntries(match.rules.map((rule) => [rule.rule, rule[field]]));
  return {
    tenantId: session.tenantId,
    context,
    revision,
    sources,
    left: readOn('LEFT'),
    right: readOn('RIGHT'),
    matched: perRule('matched'),
    confirmed: perRule('confirmed'),
    proposed: perRule('proposed'),
    open: match.open,
    exceptions: match.exceptions,
    exports,
    seconds: Math.round(performance.now() - started) / 1000,
  };
}

async function ingest(
  { out, signal }: Invocation,
  { jobs, objects }: SessionWithBucket,
  context: string,
  { name, side, format, files }: ContextFile['sources'][number],
): Promise<SourceSummary> {
  const summary: SourceSummary = {
    source: name,
    side,
    records: 0,
    added: 0,
    known: 0,
    rejected: 0,
    rejectedSample: [],
  };
  for (const path of files) {
    const file = basename(path);
    const label = `${name} ${file}`;
    const jobId = randomUUID();
    const onProgress = (detail: string) => out.progress(label, 'uploading', detail);
    const objectKey = await uploadFile(objects, { path, format, jobId }, { signal, onProgress });
    const body = { version: 1, context, source: name, objectKey, format } as const;
    const result = await jobs.run('ingestion.run', body, label, { id: jobId });
    for (const count of ['records', 'added', 'known', 'rejected'] as const) summary[count] += result[count];
    const free = sampleSize - summary.rejectedSample.length;
    summary.rejectedSample.push(...result.rejectedSample.slice(0, free).map((record) => ({ file, ...record })));
    out.done(label, ingestionLine(result));
  }
  return summary;
}

async function exportReport(
  { out, signal }: Invocation,
  { jobs, objects }: SessionWithBucket,
  context: string,
  report: ContextFile['reports'][number],
  output: string | undefined,
): Promise<ReconciliationSummary['exports'][number]> {
  const label = `export ${report}`;
  const result = await jobs.run('export.run', { version: 1, context, report, format: 'CSV' }, label);
  // A name from a message leads nowhere but into the folder.
  const file = output === undefined ? undefined : join(output, basename(result.fileName));
  if (file !== undefined) {
    out.progress(label, 'downloading');
    await downloadExport(objects, result, file, signal);
  }
  out.done(label, `${grouped(result.rows)} rows, ${grouped(result.bytes)} bytes`);
  const { context: _context, ...rest } = result;
  return file === undefined ? rest : { ...rest, file };
}

/** Waits for all, also when one fails, so that nothing goes on behind the back of whoever reads the error. */
async function all<T>(promises: Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(promises);
  const failures = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
  const [first, ...others] = failures.filter((failure) => failure instanceof JobFailed);
  if (first && others.length > 0) throw new JobsFailed([first, ...others]);
  if (failures.length > 0) throw first ?? failures[0];
  return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
}
