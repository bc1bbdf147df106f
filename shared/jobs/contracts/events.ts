import { z } from 'zod';
import { matchId } from './bodies.ts';
import { contextName } from './context.ts';
import { type JobType, jobTypes } from './job-types.ts';
import { jobResults } from './results.ts';

/** How a job's end is announced on the topic exchange `matcher.events`; the routing key is the event's type. */
export const completionEvents = {
  'context.apply': { completed: 'context.applied', failed: 'context.apply_failed' },
  'ingestion.run': { completed: 'ingestion.completed', failed: 'ingestion.failed' },
  'matching.run': { completed: 'matching.run_completed', failed: 'matching.run_failed' },
  'matching.confirm': { completed: 'matching.confirm_completed', failed: 'matching.confirm_failed' },
  'matching.reject': { completed: 'matching.reject_completed', failed: 'matching.reject_failed' },
  'matching.revoke': { completed: 'matching.revoke_completed', failed: 'matching.revoke_failed' },
  'matching.manual': { completed: 'matching.manual_completed', failed: 'matching.manual_failed' },
  'export.run': { completed: 'export.completed', failed: 'export.failed' },
} as const satisfies Record<JobType, { completed: string; failed: string }>;

export const progressEvent = 'job.progress';
/** A job of any type that was cancelled. */
export const cancelledEvent = 'job.cancelled';
/** A job that is not done because another one of its type has its idempotency key. */
export const duplicateEvent = 'job.duplicate';

/** A group that a person has confirmed or made. */
export const matchConfirmedEvent = 'matching.match_confirmed';
/** A group that a person has rejected or revoked. */
export const matchUnmatchedEvent = 'matching.match_unmatched';
/** That a person decided: one for each such job. */
export const auditLogEvent = 'governance.audit_log_created';

/** Transactions that the event of a group names. */
export const namedTransactions = 1000;

/** Of every event. The message's `messageId` is the `eventId`: whoever receives one twice can tell. */
const envelope = {
  eventId: z.uuid(),
  eventType: z.string(),
  tenantId: z.string(),
  tenantSlug: z.string(),
  jobId: z.string(),
  timestamp: z.iso.datetime(),
};

export const progress = z.strictObject({
  stage: z.string().describe('What the job does now: loading, matching, writing.'),
  done: z.int().min(0),
  total: z.int().min(0).nullable(),
});
export type Progress = z.infer<typeof progress>;

export const failure = z.strictObject({ code: z.string(), message: z.string(), hint: z.string().nullable() });
export type Failure = z.infer<typeof failure>;

/** Of the events about one group. */
const group = {
  contextId: contextName.describe('The context’s name.'),
  runId: z.string().describe('The id of the job that made the group.'),
  matchId,
  ruleId: z.string().describe('The name of the rule; that of a person’s own group is manual.'),
  transactionIds: z.array(z.string()).max(namedTransactions).describe('Ids in the tenant’s database, left ones first.'),
  truncatedIdCount: z.int().min(1).optional().describe(`Transactions that are not named, beyond ${namedTransactions}.`),
};

/** The schema of every event, by type. */
export function eventSchemas(): Record<string, z.ZodType> {
  const schemas: Record<string, z.ZodType> = {
    [progressEvent]: z.strictObject({ ...envelope, progress }),
    [cancelledEvent]: z.strictObject({
      ...envelope,
      jobType: z.enum(jobTypes),
      attempt: z.int().min(0).describe('Attempts that were begun; 0 when none was.'),
    }),
    [duplicateEvent]: z.strictObject({
      ...envelope,
      jobType: z.enum(jobTypes),
      duplicateOf: z.string().describe('The id of the job that is done in its place.'),
    }),
    [matchConfirmedEvent]: z.strictObject({
      ...envelope,
      ...group,
      confidence: z.int().min(0).max(100),
      confirmedAt: z.iso.datetime(),
    }),
    [matchUnmatchedEvent]: z.strictObject({
      ...envelope,
      ...group,
      status: z.enum(['REJECTED', 'REVOKED']).describe('What the group is now. A rejected one was never confirmed.'),
      reason: z.string(),
    }),
    [auditLogEvent]: z.strictObject({
      ...envelope,
      contextId: group.contextId,
      action: z.enum(jobTypes).describe('The type of the job.'),
      matchIds: z.array(matchId),
      reason: z.string().nullable(),
      decidedBy: z.string().nullable(),
    }),
  };
  for (const [type, { completed, failed }] of Object.entries(completionEvents) as [
    JobType,
    { completed: string; failed: string },
  ][]) {
    schemas[completed] = z.strictObject({ ...envelope, result: jobResults[type] });
    schemas[failed] = z.strictObject({ ...envelope, error: failure, attempt: z.int().min(0) });
  }
  return schemas;
}
