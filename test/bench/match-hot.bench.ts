import { asked } from './asked.ts';
import { makeTablesBeside } from './bare-copy.ts';
import { cpuOfWork } from './cpu-of-work.ts';
import { startBenchFleet } from './fleet.ts';
import { forgetEveryRun } from './forget-runs.ts';
import { loadSides } from './load-sides.ts';
import { stageMedians } from './match-against-bare.ts';
import { type MeasuredRun, openMatchTenant, step, toleranceRules } from './match-tenant.ts';
import { madeSides } from './million.ts';
import { inPlainSql, patienceSec, tolerancePairs } from './plain-sql.ts';
import { median, report, rounded } from './report.ts';

/**
 * What hot keys cost: a matching job over a million a side of which a fifth share currency and amount, against the same job over the same records
 * without that. The two take turns; the first round warms up. And, once and for information, the same pairs in plain SQL.
 */
const rounds = 3;
const limit = 1.3;
const records = asked('records', 1_000_000);

// Before there are connections, whose heartbeats it would hold up.
const made = { uniform: madeSides(records, false), hot: madeSides(records, true) };
const fleet = await startBenchFleet();
try {
  const worker = await fleet.worker('workers/matching/main.ts');
  const runs: Record<'uniform' | 'hot', MeasuredRun[]> = { uniform: [], hot: [] };
  const kinds = ['uniform', 'hot'] as const;
  const open = async (kind: (typeof kinds)[number]) => {
    const tenant = await openMatchTenant(fleet, worker);
    await tenant.apply('bank', toleranceRules);
    const sides = await step(`${records} ${kind} records a side loaded`, () =>
      loadSides(tenant.database, 'bank', made[kind]),
    );
    await tenant.database.query('VACUUM (ANALYZE) transactions, loads');
    return { tenant, sides };
  };
  const cpu = await cpuOfWork(fleet, worker);
  const cpuMs = { uniform: [] as number[], hot: [] as number[] };
  const loaded = { uniform: await open('uniform'), hot: await open('hot') };
  for (let round = -1; round < rounds; round++) {
    for (const kind of kinds) {
      const { tenant } = loaded[kind];
      await forgetEveryRun(tenant);
      const [run, used] = await cpu.during('worker', () => step(`job, ${kind}`, () => tenant.match('bank')));
      if (round < 0) continue;
      runs[kind].push(run);
      cpuMs[kind].push(used);
    }
  }
  const { tenant, sides } = loaded.hot;
  await forgetEveryRun(tenant);
  await makeTablesBeside(tenant.database);
  const plain = await step('plain SQL, hot', () => inPlainSql(tenant.database, sides, tolerancePairs));

  const ms = { uniform: median(runs.uniform.map((run) => run.ms)), hot: median(runs.hot.map((run) => run.ms)) };
  const stages = { uniform: new Map(stageMedians(runs.uniform)), hot: new Map(stageMedians(runs.hot)) };
  const line = (what: string, uniform: number, hot: number) => [
    what,
    uniform.toFixed(0),
    hot.toFixed(0),
    (hot / uniform).toFixed(2),
  ];
  const ratios = runs.hot.map((run, round) => run.ms / (runs.uniform[round] as MeasuredRun).ms);
  report(
    ['ms, median', 'uniform', 'a fifth alike', 'ratio'],
    [
      line('job, from its start to its commit', ms.uniform, ms.hot),
      ...[...stages.hot].map(([stage, hot]) => line(`  ${stage}`, stages.uniform.get(stage) ?? 0, hot)),
      line('CPU time of the job', median(cpuMs.uniform), median(cpuMs.hot)),
      ['plain SQL', '', plain ? plain.ms.toFixed(0) : `did not end in ${patienceSec} s`, ''],
    ],
    {
      bench: 'match-hot',
      ratio: rounded(median(ratios)),
      limit,
      recordsASide: records,
      ratios: ratios.map((ratio) => rounded(ratio)),
      pairs: { uniform: runs.uniform[0]?.result.matched, hot: runs.hot[0]?.result.matched },
      uniformMs: rounded(ms.uniform, 0),
      hotMs: rounded(ms.hot, 0),
      cpuMs: { uniform: rounded(median(cpuMs.uniform), 0), hot: rounded(median(cpuMs.hot), 0) },
      plainSqlMs: plain ? rounded(plain.ms, 0) : null,
    },
  );
  await cpu.close();
  for (const kind of kinds) await loaded[kind].tenant.close();
} finally {
  await fleet.close();
}
process.exit();
