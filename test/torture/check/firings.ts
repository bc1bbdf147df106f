import type { ExpectedTenant, Finding, Published, TenantState } from './state.ts';

/** By the contract (docs/scheduling.md): `schedule:{context}:{time of the firing}`. */
const scheduled = /^schedule:([^:]+):(.+)$/;
const fullMinute = /^\d{4}-\d\d-\d\dT\d\d:\d\d:00Z$/;

/**
 * The jobs of firings, of which no publisher knows: each may be there once or not at all, as an earlier one may have been in its way. A firing has one id, so one
 * that came twice under two has one that says the time in another way, or a time at which nothing fires.
 */
export function firedJobs({ name, schedules }: ExpectedTenant, state: TenantState): [Published[], Finding[]] {
  const jobs: Published[] = [];
  const findings: Finding[] = [];
  for (const { id, created } of state.jobs) {
    const [, context, time = ''] = scheduled.exec(id) ?? [];
    if (context === undefined) continue;
    const found = (what: string) => findings.push({ tenant: name, job: id, what });
    jobs.push({ id, type: 'matching.run', body: { version: 1, context, mode: 'COMMIT' }, confirmed: false });
    if (!schedules.includes(context)) found(`was fired, and ${context} has no schedule`);
    if (!fullMinute.test(time)) found('is of no firing of its schedule');
    // The machine's clock is everybody's here.
    else if (Date.parse(time) > created) found(`was begun ${(Date.parse(time) - created) / 1000} s before it was due`);
  }
  return [jobs, findings];
}
