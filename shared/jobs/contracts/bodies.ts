import { z } from 'zod';
import { contextDefinition, contextName, sourceName } from './context.ts';
import type { JobType } from './job-types.ts';

/**
 * The bodies of job messages, by job type. `version` is the body's, so that a later form can be told from this one: a worker that does not
 * know the version of a body puts the message aside instead of guessing.
 */
const version = z.literal(1);

export const objectKey = z
  .string()
  .min(1)
  .max(700)
  .describe('Key of an object in the tenant’s part of the bucket, relative to it: "uploads/bank.csv".');

/** Creates the context, or gives an existing one its new definition. */
export const contextApplyBody = z.strictObject({ version, context: contextDefinition });

/** Loads one file of one source. */
export const ingestionRunBody = z.strictObject({
  version,
  context: contextName,
  source: sourceName,
  objectKey,
  format: z.enum(['CSV', 'JSON']).describe('CSV with a header line, or a JSON array of objects; UTF-8.'),
});

/** Matches what is open in a context. A dry run reports what it would match and changes nothing else. */
export const matchingRunBody = z.strictObject({
  version,
  context: contextName,
  mode: z.enum(['COMMIT', 'DRY_RUN']).default('COMMIT'),
});

/** Groups that one decision can be about, and records on one side of a person's own group. */
const mostAtOnce = 1000;

/** A list is taken as it is meant or not at all: what stands in it twice is a mistake of whoever wrote it. */
function noneTwice<T>(nameOf: (entry: T) => string) {
  return (entries: readonly T[], issues: z.core.$RefinementCtx): void => {
    const seen = new Set<string>();
    entries.forEach((entry, index) => {
      const name = nameOf(entry);
      if (seen.has(name)) issues.addIssue({ code: 'custom', path: [index], message: `${name} is there twice` });
      seen.add(name);
    });
  };
}

/** 18 digits: PostgreSQL's bigint holds any such number. */
export const matchId = z
  .string()
  .regex(/^[1-9][0-9]{0,17}$/, 'takes the id of a group: a whole number, as text')
  .describe('A group’s id, as events and the MATCHED report have it.');

const groups = z
  .array(matchId)
  .min(1)
  .max(mostAtOnce)
  .superRefine(noneTwice((id) => id))
  .describe('All of them are decided, or none.');

const reason = z.string().trim().min(1).max(1000).describe('Why, for whoever looks at it later. Kept and announced.');
const decidedBy = z.string().trim().min(1).max(200).optional().describe('Who decided, as the publisher knows them.');

/** What a person decides about groups: the same for each of them. */
const decision = { version, context: contextName, groups, decidedBy };

/** PROPOSED groups that a person finds right. */
export const matchingConfirmBody = z.strictObject({ ...decision, reason: reason.optional() });

/** PROPOSED groups that a person finds wrong. Their records are open again, and no run matches a left one of a group with a right one of it again. */
export const matchingRejectBody = z.strictObject({ ...decision, reason });

/** CONFIRMED groups that turn out to be wrong: as for rejected ones, unless they may be matched again. */
export const matchingRevokeBody = z.strictObject({
  ...decision,
  reason,
  rematch: z
    .boolean()
    .default(false)
    .describe(
      'Whether a later run may match the same records with each other again: right when it is the rules that were wrong.',
    ),
});

export const namedRecord = z.strictObject({
  source: sourceName,
  externalId: z.string().min(1).max(256).describe('The record’s external_id.'),
});

const records = z
  .array(namedRecord)
  .min(1)
  .max(mostAtOnce)
  .superRefine(noneTwice(({ source, externalId }) => `${externalId} of ${source}`));

/** A person's own group: open records that belong together, whatever the rules say. */
export const matchingManualBody = z.strictObject({
  version,
  context: contextName,
  left: records.describe('Open records of left sources.'),
  right: records.describe('Open records of right sources.'),
  reason: reason.optional().describe('Why; needed when the two sides are not of one currency and the same sum.'),
  decidedBy,
});

export const reports = ['MATCHED', 'UNMATCHED', 'EXCEPTIONS'] as const;

/** Writes a report to the tenant’s part of the bucket. */
export const exportRunBody = z.strictObject({
  version,
  context: contextName,
  report: z.enum(reports),
  format: z.literal('CSV').default('CSV'),
});

export const jobBodies = {
  'context.apply': contextApplyBody,
  'ingestion.run': ingestionRunBody,
  'matching.run': matchingRunBody,
  'matching.confirm': matchingConfirmBody,
  'matching.reject': matchingRejectBody,
  'matching.revoke': matchingRevokeBody,
  'matching.manual': matchingManualBody,
  'export.run': exportRunBody,
} satisfies Record<JobType, z.ZodType>;

export type JobBody<T extends JobType> = z.infer<(typeof jobBodies)[T]>;
/** As a publisher writes it, before defaults. */
export type JobBodyInput<T extends JobType> = z.input<(typeof jobBodies)[T]>;

/** The versions of a job's body that this release understands. */
export const knownVersions: readonly unknown[] = [1];

/** The job's identity, chosen by its publisher: a UUID, or anything else of this form. */
export const jobId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/);
