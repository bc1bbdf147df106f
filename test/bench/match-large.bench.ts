import { readFileSync } from 'node:fs';
import { asked } from './asked.ts';
import { startBenchFleet } from './fleet.ts';
import { forgetEveryRun } from './forget-runs.ts';
import { loadSides } from './load-sides.ts';
import { exactRules, openMatchTenant, step, toleranceRules } from './match-tenant.ts';
import { madeSides } from './million.ts';
import { report, rounded } from './report.ts';

/** The most memory that a worker process has resident while it matches four million a side, by either kind of rule, each in a process of its own. */
const limitBytes = 2 ** 31;
const records = asked('records', 4_000_000);

// Before there are connections, whose heartbeats it would hold up.
const made = madeSides(records, false);
const fleet = await startBenchFleet();
try {
  const tenant = await openMatchTenant(fleet, await fleet.worker('workers/matching/main.ts'));
  await tenant.apply('bank', exactRules);
  await step(`${records} records a side loaded`, () => loadSides(tenant.database, 'bank', made));
  await tenant.database.query('VACUUM (ANALYZE) transactions, loads');
  const rows: string[][] = [];
  const peaks: number[] = [];
  const figures: Record<string, unknown> = {};
  for (const [kind, rules] of Object.entries({ exact: exactRules, tolerance: toleranceRules })) {
    await tenant.worker.stop();
    tenant.worker = await fleet.worker('workers/matching/main.ts');
    await tenant.apply('bank', rules);
    await forgetEveryRun(tenant);
    const { ms, result } = await step(`job, ${kind}`, () => tenant.match('bank'));
    const peak = peakBytes(tenant.worker.pid);
    peaks.push(peak);
    rows.push([kind, (ms / 1000).toFixed(1), String(result.matched), (peak / 1e6).toFixed(0)]);
    figures[kind] = { ms: rounded(ms, 0), pairs: result.matched, peakMb: rounded(peak / 1e6, 0) };
  }
  report(['', 's', 'pairs', 'most resident, MB'], rows, {
    bench: 'match-large',
    ratio: rounded(Math.max(...peaks) / limitBytes),
    limit: 1,
    recordsASide: records,
    ...figures,
  });
  await tenant.close();
} finally {
  await fleet.close();
}
process.exit();

/** Of a process, since it began (proc(5): VmHWM). */
function peakBytes(pid: number): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}
