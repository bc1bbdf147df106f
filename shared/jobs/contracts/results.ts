import { z } from 'zod';
import { contextName, sourceName } from './context.ts';
import type { JobType } from './job-types.ts';

/** What a finished job says: stored in its record, and carried by its event. */

const count = z.int().min(0);

export const contextApplyResult = z.strictObject({ context: contextName, revision: z.int().min(1) });

export const rejectedRecord = z.strictObject({
  row: z.int().min(1).describe('Number of the record in its file, the first being 1; a CSV header does not count.'),
  field: z.string().nullable(),
  code: z.string(),
  reason: z.string(),
});

export const ingestionRunResult = z.strictObject({
  context: contextName,
  source: sourceName,
  records: count.describe('Records in the file.'),
  added: count.describe('Transactions that are new.'),
  known: count.describe('Records that were loaded before, with the same content.'),
  rejected: count.describe(
    'Records that could not be used; the first 10,000 are kept in the tenant’s database with their reasons.',
  ),
  rejectedSample: z.array(rejectedRecord).describe('The first of them.'),
});

export const ruleStatistics = z.strictObject({
  rule: z.string(),
  type: z.string(),
  matched: count,
  confirmed: count,
  proposed: count,
  candidates: count,
  milliseconds: z.number(),
});

export const matchingRunResult = z.strictObject({
  context: contextName,
  mode: z.enum(['COMMIT', 'DRY_RUN']),
  left: count.describe('Open transactions of the left side that the run looked at.'),
  right: count,
  matched: count.describe('Groups; in a 1:1 context, pairs.'),
  rules: z.array(ruleStatistics),
  open: z.strictObject({ left: count, right: count }).describe('Transactions that stay open.'),
  exceptions: z.record(z.string(), count).describe('Open exceptions of the context after the run, by reason.'),
});

export const exportRunResult = z.strictObject({
  context: contextName,
  report: z.string(),
  format: z.string(),
  rows: count,
  bytes: count,
  sha256: z.string(),
  objectKey: z.string(),
  fileName: z.string(),
  url: z.string().describe('Presigned link; whoever has it can download the file until it expires.'),
  urlExpiresAt: z.string(),
});

export const jobResults = {
  'context.apply': contextApplyResult,
  'ingestion.run': ingestionRunResult,
  'matching.run': matchingRunResult,
  'export.run': exportRunResult,
} satisfies Record<JobType, z.ZodType>;

export type JobResult<T extends JobType> = z.infer<(typeof jobResults)[T]>;
