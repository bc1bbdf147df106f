import { rulesSchema } from '@matcher/shared/jobs/contracts/rules.ts';
import { matchOneToOne } from '../../workers/matching/engine/match.ts';
import { DuckDbMatching } from './duckdb-matching.ts';
import { type MadeSide, madeSides, withReference } from './million.ts';
import { median, report, rounded } from './report.ts';

/**
 * The engine alone, one thread, on columns in memory, next to DuckDB on two threads with the same million a side. And the same with a fifth of
 * all records sharing currency and amount, which must not cost much more; the query for tolerance does not end on that in any useful time.
 */

const size = 1_000_000;
const rounds = 3;
const limit = 0.8;
const hotLimit = 1.5;

const exactRule = rulesSchema.parse([
  { type: 'EXACT', priority: 1, config: { matchDate: false, referenceField: 'reference' } },
]);
const toleranceRule = rulesSchema.parse([
  {
    type: 'TOLERANCE',
    priority: 1,
    config: { matchReference: false, absTolerance: '0.05', percentTolerance: '0', dateWindowDays: 3 },
  },
]);

interface Timed {
  ms: number;
  pairs: number;
}

const uniform = madeSides(size, false);
const hot = madeSides(size, true);
const duckdb = await DuckDbMatching.load(uniform.left, uniform.right);
const ways = {
  'engine, exact': () => engine(uniform, exactRule),
  'DuckDB, exact': () => duckdb.exact(),
  'engine, tolerance': () => engine(uniform, toleranceRule),
  'DuckDB, tolerance': () => duckdb.tolerance(),
  'engine, exact, a fifth alike': () => engine(hot, exactRule),
  'engine, tolerance, a fifth alike': () => engine(hot, toleranceRule),
} satisfies Record<string, () => Timed | Promise<Timed>>;
type Way = keyof typeof ways;

const results = new Map<Way, Timed[]>();
for (let round = -1; round < rounds; round++) {
  for (const way of Object.keys(ways) as Way[]) {
    globalThis.gc?.();
    const result = await ways[way]();
    // The first round warms up.
    if (round >= 0) results.set(way, [...(results.get(way) ?? []), result]);
  }
}
duckdb.close();

const times = (way: Way) => (results.get(way) as Timed[]).map(({ ms }) => ms);
const inRound = (round: number, ...these: Way[]) => these.reduce((sum, way) => sum + (times(way)[round] as number), 0);
const overRounds = (ratio: (round: number) => number) =>
  median(Array.from({ length: rounds }, (_, round) => ratio(round)));
const ratio = overRounds(
  (round) =>
    inRound(round, 'engine, exact', 'engine, tolerance') / inRound(round, 'DuckDB, exact', 'DuckDB, tolerance'),
);
const hotRatio = overRounds(
  (round) => inRound(round, 'engine, tolerance, a fifth alike') / inRound(round, 'engine, tolerance'),
);

report(
  ['', 'ms, median', 'ms, best', 'pairs'],
  [...results].map(([way, timed]) => [
    way,
    rounded(median(times(way)), 0).toFixed(0),
    rounded(Math.min(...times(way)), 0).toFixed(0),
    String(timed[0]?.pairs),
  ]),
  {
    bench: 'engine',
    ratio: rounded(ratio),
    limit,
    hotRatio: rounded(hotRatio),
    hotLimit,
    recordsASide: size,
    ...Object.fromEntries([...results.keys()].map((way) => [`${way}, ms`, rounded(median(times(way)), 0)])),
  },
);
if (hotRatio > hotLimit) process.exitCode = 1;

function engine({ left, right }: { left: MadeSide; right: MadeSide }, rules: typeof exactRule): Timed {
  const started = performance.now();
  const { pairs } = matchOneToOne({ left: withReference(left), right: withReference(right), rules });
  return { ms: performance.now() - started, pairs: pairs.size };
}
