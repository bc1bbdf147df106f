/** What the ids of all scheduled runs of a context begin with. */
export function scheduledJobPrefix(context: string): string {
  return `schedule:${context}:`;
}

/** The id of a context's run at a firing: the same firing, however often it is published, is the same job. */
export function scheduledJobId(context: string, firing: Date): string {
  return `${scheduledJobPrefix(context)}${firing.toISOString().replace('.000Z', 'Z')}`;
}

/** When the firing of a scheduled run was, or `undefined` for an id that is none of a scheduled run. */
export function firingOf(jobId: string): Date | undefined {
  const [, time = ''] = /^schedule:[^:]+:(.+)$/.exec(jobId) ?? [];
  const firing = new Date(time);
  return Number.isNaN(firing.getTime()) ? undefined : firing;
}
