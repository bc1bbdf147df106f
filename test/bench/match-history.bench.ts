import { asked } from './asked.ts';
import { startBenchFleet } from './fleet.ts';
import { forgetRun } from './forget-runs.ts';
import { loadSides } from './load-sides.ts';
import { stageMedians } from './match-against-bare.ts';
import { exactRules, type MeasuredRun, openMatchTenant, step } from './match-tenant.ts';
import { madeSides } from './million.ts';
import { median, report, rounded } from './report.ts';
import { makeHistory } from './settled-history.ts';

/**
 * What the past costs: a matching job over 10,000 new records in a context with ten million settled ones, against the same job where there are none.
 * The two take turns; the first rounds warm up.
 */
const newRecords = 10_000;
const rounds = 7;
const warmUps = 2;
const limit = 1.5;
const settled = asked('records', 10_000_000);
const say = (line: string) => void process.stderr.write(`${line}\n`);

const fleet = await startBenchFleet();
try {
  const worker = await fleet.worker('workers/matching/main.ts');
  const kinds = ['none', 'history'] as const;
  const runs: Record<(typeof kinds)[number], MeasuredRun[]> = { none: [], history: [] };
  const open = async (past: number) => {
    const tenant = await openMatchTenant(fleet, worker);
    const { database } = tenant;
    await tenant.apply('bank', exactRules);
    await step(`${past} settled records`, () =>
      makeHistory(database, 'bank', past, (records) => say(`${records} settled records`)),
    );
    await loadSides(database, 'bank', madeSides(newRecords / 2, false));
    await step('vacuumed', () =>
      database.query('VACUUM (ANALYZE) transactions, loads, match_runs, match_groups, match_items, exceptions'),
    );
    return tenant;
  };
  const tenants = { none: await open(0), history: await open(settled) };
  for (let round = -warmUps; round < rounds; round++) {
    for (const kind of kinds) {
      const run = await tenants[kind].match('bank');
      await forgetRun(tenants[kind], run.jobId);
      if (round >= 0) runs[kind].push(run);
    }
  }

  const ms = { none: median(runs.none.map((run) => run.ms)), history: median(runs.history.map((run) => run.ms)) };
  const stages = { none: new Map(stageMedians(runs.none)), history: new Map(stageMedians(runs.history)) };
  const line = (what: string, none: number, history: number) => [
    what,
    none.toFixed(0),
    history.toFixed(0),
    (history / none).toFixed(2),
  ];
  report(
    ['ms, median', 'nothing settled', `${settled.toLocaleString('en')} settled`, 'ratio'],
    [
      line(`job, ${newRecords.toLocaleString('en')} new records`, ms.none, ms.history),
      ...[...stages.history].map(([stage, history]) => line(`  ${stage}`, stages.none.get(stage) ?? 0, history)),
    ],
    {
      bench: 'match-history',
      ratio: rounded(ms.history / ms.none),
      limit,
      newRecords,
      settled,
      noneMs: runs.none.map((run) => rounded(run.ms, 0)),
      historyMs: runs.history.map((run) => rounded(run.ms, 0)),
      pairs: runs.history[0]?.result.matched,
    },
  );
  for (const kind of kinds) await tenants[kind].close();
} finally {
  await fleet.close();
}
process.exit();
