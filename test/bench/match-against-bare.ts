import { asked } from './asked.ts';
import { type BareTime, bareInAndOut, emptyTablesBeside, makeTablesBeside, readWritten } from './bare-copy.ts';
import { cpuOfWork } from './cpu-of-work.ts';
import { startBenchFleet } from './fleet.ts';
import { forgetEveryRun } from './forget-runs.ts';
import { loadSides } from './load-sides.ts';
import { type MeasuredRun, openMatchTenant, type Rules, step } from './match-tenant.ts';
import { madeSides } from './million.ts';
import { inPlainSql, type PairsQuery, patienceSec } from './plain-sql.ts';
import { median, report, rounded } from './report.ts';

const rounds = 3;

export interface MatchBench {
  name: string;
  rules: Rules;
  /** Of the job's time to that of its bare input and output. */
  limit: number;
  /** What the rules read beside what every run does, as SQL. */
  fields: readonly string[];
  plainSql: PairsQuery;
}

/**
 * A matching job over a million open records a side, from its start to its commit, against the bare input and output of the same rows. The two take
 * turns; the first round warms up. And, once and for information, the same pairs in plain SQL.
 */
export async function matchAgainstBare({ name, rules, limit, fields, plainSql }: MatchBench): Promise<void> {
  const records = asked('records', 1_000_000);
  // Before there are connections, whose heartbeats it would hold up.
  const made = madeSides(records, false);
  const fleet = await startBenchFleet();
  try {
    const worker = await fleet.worker('workers/matching/main.ts');
    const tenant = await openMatchTenant(fleet, worker);
    const { database } = tenant;
    await tenant.apply('bank', rules);
    const sides = await step(`${records} records a side loaded`, () => loadSides(database, 'bank', made));
    await step('vacuumed', () => database.query('VACUUM (ANALYZE) transactions, loads'));
    await makeTablesBeside(database);

    const cpu = await cpuOfWork(fleet, worker);
    const runs: MeasuredRun[] = [];
    const bare: BareTime[] = [];
    const cpuMs = { job: [] as number[], bare: [] as number[] };
    for (let round = -1; round < rounds; round++) {
      await forgetEveryRun(tenant);
      const [run, runCpuMs] = await cpu.during('worker', () => step('job', () => tenant.match('bank')));
      const written = await readWritten(database);
      await emptyTablesBeside(database);
      await forgetEveryRun(tenant);
      const [time, bareCpuMs] = await cpu.during('bench', () =>
        step('bare', () => bareInAndOut(database, sides, fields, written)),
      );
      if (round < 0) continue;
      runs.push(run);
      bare.push(time);
      cpuMs.job.push(runCpuMs);
      cpuMs.bare.push(bareCpuMs);
    }
    await forgetEveryRun(tenant);
    const plain = await step('plain SQL', () => inPlainSql(database, sides, plainSql));

    const ratios = runs.map(({ ms }, round) => ms / (bare[round] as BareTime).ms);
    const { result } = runs[0] as MeasuredRun;
    const [jobMs, bareMs] = [median(runs.map(({ ms }) => ms)), median(bare.map(({ ms }) => ms))];
    const [outMs, inMs] = [median(bare.map((time) => time.outMs)), median(bare.map((time) => time.inMs))];
    const line = (what: string, ms: number) => [what, ms.toFixed(0), (ms / bareMs).toFixed(2)];
    const stages = Object.fromEntries(stageMedians(runs));
    const engineMs = median(runs.map((run) => run.result.rules.reduce((sum, rule) => sum + rule.milliseconds, 0)));
    report(
      ['', 'ms, median', 'to the bare input and output'],
      [
        line('bare input and output', bareMs),
        line('  out', outMs),
        line('  in', inMs),
        line('job, from its start to its commit', jobMs),
        ...Object.entries(stages).map(([stage, ms]) => line(`  ${stage}`, ms)),
        line('  of it the rules', engineMs),
        line('CPU time of bare input and output', median(cpuMs.bare)),
        line('CPU time of the job', median(cpuMs.job)),
        plain ? line('plain SQL', plain.ms) : ['plain SQL', `did not end in ${patienceSec} s`, ''],
      ],
      {
        bench: name,
        ratio: rounded(median(ratios)),
        limit,
        recordsASide: records,
        pairs: result.matched,
        open: result.open,
        jobMs: rounded(jobMs, 0),
        bareMs: rounded(bareMs, 0),
        ratios: ratios.map((ratio) => rounded(ratio)),
        stagesMs: Object.fromEntries(Object.entries(stages).map(([stage, ms]) => [stage, rounded(ms, 0)])),
        rulesMs: rounded(engineMs, 0),
        bareOutMs: rounded(outMs, 0),
        bareInMs: rounded(inMs, 0),
        bytesOut: bare[0]?.bytesOut,
        bytesIn: bare[0]?.bytesIn,
        plainSqlMs: plain ? rounded(plain.ms, 0) : null,
        cpuMs: { job: rounded(median(cpuMs.job), 0), bare: rounded(median(cpuMs.bare), 0) },
        plainSqlPairs: plain?.pairs ?? null,
      },
    );
    await cpu.close();
    await tenant.close();
  } finally {
    await fleet.close();
  }
}

/** Of each stage that the runs tell. */
export function stageMedians(runs: readonly MeasuredRun[]): [stage: string, ms: number][] {
  const stages = new Set(runs.flatMap((run) => Object.keys(run.stages)));
  return [...stages].map((stage) => [stage, median(runs.map((run) => run.stages[stage] ?? 0))]);
}
