import type { CheckedTenant, Verdict } from './check/check.ts';
import type { Finding } from './check/state.ts';
import type { Ledger } from './ledger.ts';
import type { Plan } from './plan.ts';
import { jobSlots } from './stage.ts';
import type { DoneStrike } from './strikes.ts';
import { jobTypes } from './work.ts';

export interface Report {
  seed: number;
  minutes: number;
  tenants: number;
  findings: Finding[];
  jobs: {
    planned: number;
    /** Given to a publisher, of the planned ones; the rest had no time. */
    given: number;
    /** Besides those, of each context's beginning and end. */
    around: number;
    confirmed: number;
    /** Their publisher died, and nobody published them again. */
    abandoned: number;
    /** Of those, how many are there nevertheless. */
    abandonedDone: number;
    succeeded: Record<string, number>;
  };
  strikes: Record<string, number>;
  /** Of the succeeded ones, how many were begun by a schedule. */
  fired: number;
  events: number;
  /** Sent again, with the same id. */
  eventsAgain: number;
  /** Claims beyond one a job, and attempts that were charged beyond one a job. */
  claimedAgain: number;
  attemptsCharged: number;
  /** Of processes that were at work on a job, as its record counts them; and how many the killed workers can account for, since each had so many slots. */
  deaths: number;
  killedSlots: number;
  /** Processes that ended during one job, at most; three make it a dead letter. */
  mostDeaths: number;
  /** Objects of attempts that did not come to their end. */
  leftovers: number;
  /** From the end of a strike until a tenant that it struck, and that had jobs waiting, ended one, without another strike in between. */
  slowestRecovery: { seconds: number; tenant: string; strike: string } | undefined;
  /** Seconds until everything was done when nothing struck any more. */
  rest: number;
  /** Where the logs are. */
  logs: string | undefined;
}

export interface ReportParts {
  plan: Plan;
  ledger: Ledger;
  tenants: readonly CheckedTenant[];
  verdict: Verdict;
  strikes: readonly DoneStrike[];
  rest: number;
  logs: string | undefined;
}

export function makeReport({ plan, ledger, tenants, verdict, strikes, rest, logs }: ReportParts): Report {
  const entries = [...ledger.entries.values()];
  const records = tenants.flatMap(({ state }) => state.jobs);
  const planned = new Set(plan.jobs.map(({ id }) => id));
  const given = entries.filter(({ job }) => planned.has(job.id)).length;
  const known = new Set(records.map(({ id }) => id));
  const abandoned = entries.filter((entry) => entry.abandoned && !entry.confirmed);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    seed: plan.options.seed,
    minutes: plan.options.minutes,
    tenants: tenants.length,
    findings: verdict.findings,
    jobs: {
      planned: plan.jobs.length,
      given,
      around: entries.length - given,
      confirmed: ledger.confirmed,
      abandoned: abandoned.length,
      abandonedDone: abandoned.filter(({ job }) => known.has(job.id)).length,
      succeeded: Object.fromEntries(
        jobTypes.map((type) => [type, records.filter((row) => row.type === type && row.state === 'SUCCEEDED').length]),
      ),
    },
    strikes: Object.fromEntries(
      Object.entries(Object.groupBy(strikes, ({ strike }) => strike.kind)).map(([kind, all]) => [kind, all.length]),
    ),
    fired: verdict.fired,
    events: verdict.events,
    eventsAgain: verdict.eventsAgain,
    claimedAgain: sum(records.map(({ fence }) => Math.max(0, fence - 1))),
    attemptsCharged: sum(records.map(({ attempt }) => Math.max(0, attempt - 1))),
    deaths: sum(records.map(({ deaths }) => deaths)),
    killedSlots: jobSlots * strikes.filter(({ strike }) => strike.kind === 'kill-worker').length,
    mostDeaths: Math.max(0, ...records.map(({ deaths }) => deaths)),
    leftovers: verdict.leftovers,
    slowestRecovery: slowestRecovery(ledger, tenants, strikes),
    rest,
    logs,
  };
}

function slowestRecovery(
  ledger: Ledger,
  tenants: readonly CheckedTenant[],
  strikes: readonly DoneStrike[],
): Report['slowestRecovery'] {
  const strikesTenant = ({ strike }: DoneStrike, index: number) =>
    'tenants' in strike ? strike.tenants.includes(index) : !('tenant' in strike) || strike.tenant === index;
  let slowest: Report['slowestRecovery'];
  for (const [index, { expected, state }] of tenants.entries()) {
    const struck = strikes.filter((one) => strikesTenant(one, index));
    for (const { what, ended } of struck) {
      const later = state.jobs.filter(({ finished }) => finished !== null && finished > ended);
      const waited = later.some(({ id }) => (ledger.entries.get(id)?.givenAt ?? Number.POSITIVE_INFINITY) < ended);
      const first = Math.min(...later.map(({ finished }) => finished ?? 0));
      // What strikes it before it has recovered has a recovery of its own.
      if (!waited || struck.some((other) => other.ended > ended && other.began < first)) continue;
      const seconds = (first - ended) / 1000;
      if (seconds > (slowest?.seconds ?? 0)) slowest = { seconds, tenant: expected.name, strike: what };
    }
  }
  return slowest;
}

/** The report for a person: a line for each finding, or one table. */
export function describeReport(report: Report): string[] {
  const { findings, jobs, strikes, slowestRecovery: slow, logs } = report;
  const lines = findings.map(({ tenant, job, what }) => `FOUND  ${tenant}  ${job ?? ''}  ${what}`);
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ');
  const rows: [string, string][] = [
    ['jobs', `${jobs.given} of ${jobs.planned} planned and ${jobs.around} around them, ${jobs.confirmed} confirmed`],
    ['', `${jobs.abandoned} left behind by dead publishers, ${jobs.abandonedDone} of them done`],
    ['succeeded', list(jobs.succeeded)],
    ['fired', `${report.fired} matching.run by schedules`],
    ['struck', list(strikes)],
    ['claimed again', `${report.claimedAgain}; ${report.attemptsCharged} attempts charged`],
    [
      'deaths',
      `${report.deaths} counted, at most ${report.mostDeaths} in one job; the killed workers had ${report.killedSlots} slots`,
    ],
    ['events', `${report.events}, ${report.eventsAgain} sent again with the same id`],
    ['objects left', `${report.leftovers} of attempts that did not come to their end`],
    [
      'recovery',
      slow ? `${slow.seconds.toFixed(1)} s at most: ${slow.tenant}, after "${slow.strike}"` : 'nobody had to wait',
    ],
    ['rest', `${report.rest.toFixed(1)} s`],
    ...(logs === undefined ? [] : ([['logs', logs]] as [string, string][])),
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  return [
    ...lines,
    ...rows.map(([name, text]) => `  ${name.padEnd(width)}${text}`),
    findings.length === 0
      ? `seed ${report.seed}: nothing lost, nothing twice, nothing foreign`
      : `seed ${report.seed}: ${findings.length} findings`,
  ];
}
