import { parseAmount } from '@matcher/shared/money/decimal.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { explainOpen } from '../../../workers/matching/engine/explain.ts';
import { APART } from '../../../workers/matching/engine/kept-apart.ts';
import { matchOneToOne } from '../../../workers/matching/engine/match.ts';
import { matchNaively, type NaiveRecord, naiveConfidence } from '../../support/naive-matching.ts';
import {
  anyForbidden,
  anyRules,
  columns,
  inColumns,
  pairsOf,
  record,
  rules,
  run,
  scattered,
  sides,
  sorted,
} from './records.ts';

/** For thousands of cases on a machine that is busy with other things. */
const LONG = 300_000;

const forbidding = <T extends { left: NaiveRecord[]; right: NaiveRecord[] }>(given: fc.Arbitrary<T>) =>
  given.chain((of) => fc.record({ of: fc.constant(of), forbidden: anyForbidden(of.left.length, of.right.length) }));

const tolerance = (config: object = {}) =>
  rules({
    type: 'TOLERANCE',
    config: { matchReference: false, absTolerance: '1.50', percentTolerance: '0', dateWindowDays: 3, ...config },
  });

describe('two records that must not come together', () => {
  test('stay open where nothing else fits, and the exception says so', () => {
    const one = [record({ id: 'T' })];
    const input = {
      left: columns(one),
      right: columns(one),
      rules: rules({ type: 'EXACT' }),
      forbidden: inColumns([[0, 0]]),
    };
    const output = matchOneToOne(input);
    expect(output.pairs.size).toBe(0);
    const miss = { row: 0, reason: 'UNMATCHED', nearMisses: [{ row: 0, apart: APART.REJECTED }] };
    expect(explainOpen(input, output)).toMatchObject({ left: [miss], right: [miss] });
  });

  test('each get the next nearest partner', () => {
    const [left, right] = [
      ['a', 'b'],
      ['a', 'b', 'c'],
    ].map((ids) => ids.map((id) => record({ id, amount: '10' }))) as [NaiveRecord[], NaiveRecord[]];
    const exact = rules({ type: 'EXACT', config: { matchReference: false } });
    const found = (forbidden: [number, number][]) => sorted(pairsOf(run(left, right, exact, forbidden)));
    expect(found([])).toMatchObject([{ right: 0 }, { right: 1 }]);
    expect(found([[0, 0]])).toMatchObject([{ right: 1 }, { right: 0 }]);
    expect(
      found([
        [0, 0],
        [0, 1],
      ]),
    ).toMatchObject([{ right: 2 }, { right: 0 }]);
  });

  test(
    'come out as the definition says, on thousands of random reconciliations',
    () => {
      fc.assert(
        fc.property(forbidding(sides(12)), anyRules, ({ of: { left, right }, forbidden }, definition) => {
          const pairs = sorted(pairsOf(run(left, right, definition, forbidden)));
          expect(pairs).toEqual(sorted(matchNaively(left, right, definition, forbidden)));
        }),
        { numRuns: 2500 },
      );
    },
    LONG,
  );

  test(
    'come out as the definition says where one rule holds everything against everything',
    () => {
      const wide = tolerance({ matchCurrency: false, absTolerance: '7', percentTolerance: '0.3' });
      fc.assert(
        fc.property(forbidding(sides(25)), ({ of: { left, right }, forbidden }) => {
          expect(sorted(pairsOf(run(left, right, wide, forbidden)))).toEqual(
            sorted(matchNaively(left, right, wide, forbidden)),
          );
        }),
        { numRuns: 1000 },
      );
    },
    LONG,
  );

  test(
    'come out as the definition says across many days',
    () => {
      const definitions = fc.constantFrom(
        tolerance(),
        tolerance({ dateWindowDays: 30, matchCurrency: false }),
        tolerance({ dateWindowDays: 3650 }),
        rules({ type: 'DATE_LAG', config: { minDays: 20, maxDays: 300, feeTolerance: '2' } }),
        rules({ type: 'EXACT', config: { matchReference: false, matchDate: false } }),
      );
      fc.assert(
        fc.property(forbidding(scattered), definitions, ({ of: { left, right }, forbidden }, definition) => {
          expect(sorted(pairsOf(run(left, right, definition, forbidden)))).toEqual(
            sorted(matchNaively(left, right, definition, forbidden)),
          );
        }),
        { numRuns: 300 },
      );
    },
    LONG,
  );

  test(
    'leave no two open records that satisfy the rule and are not forbidden',
    () => {
      const [rule] = tolerance();
      fc.assert(
        fc.property(forbidding(sides(20)), ({ of: { left, right }, forbidden }) => {
          const pairs = pairsOf(run(left, right, tolerance(), forbidden));
          for (const pair of pairs) expect(forbidden).not.toContainEqual([pair.left, pair.right]);
          const open = (all: NaiveRecord[], taken: number[]) => [...all.keys()].filter((row) => !taken.includes(row));
          for (const l of open(
            left,
            pairs.map((pair) => pair.left),
          )) {
            for (const r of open(
              right,
              pairs.map((pair) => pair.right),
            )) {
              if (forbidden.some(([a, b]) => a === l && b === r)) continue;
              expect(naiveConfidence(rule as never, left[l] as never, right[r] as never)).toBeLessThan(60);
            }
          }
        }),
        { numRuns: 500 },
      );
    },
    LONG,
  );

  test('cost little where thousands of records share amount and day', () => {
    const size = 5000;
    const side = (name: string, off: string) =>
      Array.from({ length: size }, (_, i) => ({
        ...record({ id: `${name}${String(i).padStart(6, '0')}` }),
        amount: parseAmount('100') + parseAmount(i % 2 === 0 ? '0' : off),
      }));
    const forbidden = Array.from({ length: 500 }, (_, i) => [i % 250, (i * 7) % 300] as [number, number]);
    const { pairs, rules: statistics } = run(side('L', '0.01'), side('R', '0.02'), tolerance(), forbidden);
    expect(pairs.size).toBe(size);
    expect(statistics[0]?.candidates).toBeLessThan(size * 40);
  });
});
