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

const sampledTransaction = z.strictObject({
  source: sourceName,
  externalId: z.string(),
  amount: z.string().describe('A decimal.'),
  currency: z.string(),
  date: z.iso.datetime(),
});

const sampledMatch = z.strictObject({
  rule: z.string(),
  confidence: z.int().min(60).max(100),
  left: z.array(sampledTransaction).describe('The first few of the group.'),
  right: z.array(sampledTransaction),
  items: count.describe('Transactions in the group.'),
});

const sampledOpen = z.strictObject({
  side: z.enum(['LEFT', 'RIGHT']),
  transaction: sampledTransaction,
  reason: z.string(),
  rule: z.string().optional().describe('Of wholes and parts: the rule that could not settle it.'),
  gap: z.string().optional().describe('What the whole has beyond all its parts, a decimal.'),
  nearMisses: z
    .array(
      z.strictObject({
        transaction: sampledTransaction,
        rule: z.string(),
        apart: z.array(z.string()).describe('What kept the two apart.'),
      }),
    )
    .describe('The nearest first.'),
});

export const matchingRunResult = z.strictObject({
  context: contextName,
  mode: z.enum(['COMMIT', 'DRY_RUN']),
  left: count.describe('Open transactions of the left side that the run looked at.'),
  right: count,
  matched: count.describe('Groups; in a 1:1 context, pairs.'),
  rules: z.array(ruleStatistics),
  open: z.strictObject({ left: count, right: count }).describe('Transactions that stay open.'),
  exceptions: z
    .record(z.string(), count)
    .describe('Open exceptions of the context after the run, by reason; of a dry run: that the run would leave.'),
  limited: count.describe(
    'Transactions that stay open since a search for their partners was not finished (SEARCH_LIMIT).',
  ),
  milliseconds: z
    .strictObject({ reading: count, matching: count, explaining: count, writing: count })
    .describe('How long the stages took; explaining is to find the reasons and near misses of what stays open.'),
  memory: z.strictObject({
    columns: count.describe('Bytes of the transactions that were read.'),
    peak: count.describe('Most bytes that the process was seen to hold during the run, whatever else it did.'),
  }),
  samples: z
    .strictObject({
      matches: z
        .array(sampledMatch)
        .describe('Of each rule a few groups: the least sure ones, then by the left external id.'),
      open: z.array(sampledOpen).describe('Transactions that would stay open: those with the nearest misses.'),
    })
    .optional()
    .describe('Of a dry run.'),
});

const decisionResult = z.strictObject({
  context: contextName,
  status: z.enum(['CONFIRMED', 'REJECTED', 'REVOKED']).describe('What the groups are now.'),
  groups: count,
  transactions: count.describe('Transactions of these groups; rejected or revoked, they are open again.'),
});

export const matchingManualResult = z.strictObject({
  context: contextName,
  matchId: z.string().describe('The new group’s id.'),
  gap: z
    .string()
    .nullable()
    .describe(
      'What the left side has beyond the right one, a decimal: "0" when they balance; null when they are of several currencies.',
    ),
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
  'matching.confirm': decisionResult,
  'matching.reject': decisionResult,
  'matching.revoke': decisionResult,
  'matching.manual': matchingManualResult,
  'export.run': exportRunResult,
} satisfies Record<JobType, z.ZodType>;

export type JobResult<T extends JobType> = z.infer<(typeof jobResults)[T]>;
