/** Every kind of job there is. The queue is `matcher.jobs.{type}`. */
export const jobTypes = [
  'context.apply',
  'ingestion.run',
  'matching.run',
  'matching.confirm',
  'matching.reject',
  'matching.revoke',
  'matching.manual',
  'export.run',
] as const;
export type JobType = (typeof jobTypes)[number];
