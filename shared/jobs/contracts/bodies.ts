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
  'export.run': exportRunBody,
} satisfies Record<JobType, z.ZodType>;

export type JobBody<T extends JobType> = z.infer<(typeof jobBodies)[T]>;
/** As a publisher writes it, before defaults. */
export type JobBodyInput<T extends JobType> = z.input<(typeof jobBodies)[T]>;

/** The versions of a job's body that this release understands. */
export const knownVersions: readonly unknown[] = [1];

/** The job's identity, chosen by its publisher: a UUID, or anything else of this form. */
export const jobId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/);
