import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matchNaively, naiveConfidence } from '../../support/naive-matching.ts';
import { anyRules, pairsOf, record, rules, run, scattered, sides, sorted } from './records.ts';

/** For thousands of cases on a machine that is busy with other things; on a quiet one they take seconds. */
const LONG = 300_000;

const reconciliation = (maxLength: number) => fc.record({ sides: sides(maxLength), rules: anyRules });

/** One rule that compares neither reference nor date strictly: one partition, many lanes. */
const wideOpen = rules({
  type: 'TOLERANCE',
  config: {
    matchCurrency: false,
    matchReference: false,
    absTolerance: '7',
    percentTolerance: '0.3',
    dateWindowDays: 3,
  },
});

describe('the engine against the definition', () => {
  test(
    'gives the identical pairs and confidences on thousands of random reconciliations',
    () => {
      fc.assert(
        fc.property(reconciliation(12), ({ sides: { left, right }, rules: definition }) => {
          expect(sorted(pairsOf(run(left, right, definition)))).toEqual(sorted(matchNaively(left, right, definition)));
        }),
        { numRuns: 4000 },
      );
    },
    LONG,
  );

  test(
    'gives the identical pairs where one rule holds everything against everything',
    () => {
      fc.assert(
        fc.property(sides(27), ({ left, right }) => {
          expect(sorted(pairsOf(run(left, right, wideOpen)))).toEqual(sorted(matchNaively(left, right, wideOpen)));
        }),
        { numRuns: 1000 },
      );
    },
    LONG,
  );

  test(
    'gives the identical pairs where the dates are as far apart as the amounts are near',
    () => {
      const tolerance = (dateWindowDays: number, matchCurrency: boolean) =>
        rules({
          type: 'TOLERANCE',
          config: { matchCurrency, matchReference: false, absTolerance: '1.50', percentTolerance: '0', dateWindowDays },
        });
      const lag = (direction: 'ABS' | 'LEFT_BEFORE_RIGHT' | 'RIGHT_BEFORE_LEFT') =>
        rules({ type: 'DATE_LAG', config: { minDays: 20, maxDays: 300, feeTolerance: '2', direction } });
      const definitions = fc.constantFrom(
        tolerance(3, true),
        tolerance(30, true),
        tolerance(30, false),
        tolerance(3650, true),
        lag('ABS'),
        lag('LEFT_BEFORE_RIGHT'),
        lag('RIGHT_BEFORE_LEFT'),
        rules({ type: 'EXACT', config: { matchReference: false, matchDate: false } }),
      );
      fc.assert(
        fc.property(
          fc.record({ sides: scattered, definition: definitions }),
          ({ sides: { left, right }, definition }) => {
            expect(sorted(pairsOf(run(left, right, definition)))).toEqual(
              sorted(matchNaively(left, right, definition)),
            );
          },
        ),
        { numRuns: 300 },
      );
    },
    LONG,
  );
});

describe('what a run promises', () => {
  test(
    'the same pairs in whatever order the rows come',
    () => {
      const shuffled = reconciliation(14).chain(({ sides: { left, right }, rules: definition }) =>
        fc.record({
          left: fc.constant(left),
          right: fc.constant(right),
          leftOrder: fc.shuffledSubarray([...left.keys()], { minLength: left.length }),
          rightOrder: fc.shuffledSubarray([...right.keys()], { minLength: right.length }),
          definition: fc.constant(definition),
        }),
      );
      fc.assert(
        fc.property(shuffled, ({ left, right, leftOrder, rightOrder, definition }) => {
          const [l, r] = [leftOrder.map((row) => left[row] as never), rightOrder.map((row) => right[row] as never)];
          const straight = pairsOf(run(left, right, definition));
          const permuted = pairsOf(run(l, r, definition)).map((pair) => ({
            ...pair,
            left: leftOrder[pair.left] as number,
            right: rightOrder[pair.right] as number,
          }));
          expect(sorted(permuted)).toEqual(sorted(straight));
        }),
        { numRuns: 1000 },
      );
    },
    LONG,
  );

  test('no record is in two pairs', () => {
    fc.assert(
      fc.property(reconciliation(14), ({ sides: { left, right }, rules: definition }) => {
        const pairs = pairsOf(run(left, right, definition));
        expect(new Set(pairs.map((pair) => pair.left)).size).toBe(pairs.length);
        expect(new Set(pairs.map((pair) => pair.right)).size).toBe(pairs.length);
      }),
    );
  });

  test('no two records that stay open satisfy any of the rules', () => {
    fc.assert(
      fc.property(reconciliation(14), ({ sides: { left, right }, rules: definition }) => {
        const pairs = pairsOf(run(left, right, definition));
        const [lefts, rights] = [new Set(pairs.map((pair) => pair.left)), new Set(pairs.map((pair) => pair.right))];
        for (const [l, leftRecord] of left.entries()) {
          for (const [r, rightRecord] of right.entries()) {
            if (lefts.has(l) || rights.has(r)) continue;
            for (const rule of definition) expect(naiveConfidence(rule, leftRecord, rightRecord)).toBeLessThan(60);
          }
        }
      }),
    );
  });

  test('an exact pair is not broken up to serve two worse ones', () => {
    const left = [record({ id: 'L1', amount: '10.00' }), record({ id: 'L2', amount: '10.04' })];
    const right = [record({ id: 'R1', amount: '9.96' }), record({ id: 'R2', amount: '10.00' })];
    // L1–R1 and L2–R2 would settle all four; L1–R2 is exact.
    const definition = rules({ type: 'TOLERANCE', config: { matchReference: false, absTolerance: '0.05' } });
    expect(sorted(pairsOf(run(left, right, definition)))).toMatchObject([{ left: 0, right: 1 }]);
  });

  test('an amount that is nearer goes before a day that is nearer', () => {
    const left = [record({ amount: '10.00', at: '2026-03-10T00:00:00Z' })];
    const right = [
      record({ amount: '10.01', at: '2026-03-10T00:00:00Z' }),
      record({ amount: '10.00', at: '2026-03-12T00:00:00Z' }),
    ];
    const definition = rules({ type: 'TOLERANCE', config: { matchReference: false, dateWindowDays: 3 } });
    expect(pairsOf(run(left, right, definition))).toMatchObject([{ left: 0, right: 1 }]);
  });

  test('amounts are near as they are, not as they are rounded', () => {
    const left = [record({ id: 'A', amount: '10.001' }), record({ id: 'B', amount: '10.004' })];
    const right = [record({ id: 'C', amount: '10.004' })];
    const definition = rules({ type: 'TOLERANCE', config: { matchReference: false, absTolerance: '0' } });
    expect(pairsOf(run(left, right, definition))).toMatchObject([{ left: 1, right: 0 }]);
  });

  test('equally near records pair by external id, as UTF-16 code units order them, then by source', () => {
    const left = ['b', 'a', 'Z', 'é'].map((id) => record({ id }));
    const right = [
      record({ id: 'x', source: 'S2' }),
      record({ id: 'x', source: 'S1' }),
      record({ id: '10' }),
      record({ id: '9' }),
    ];
    const definition = rules({ type: 'EXACT', config: { matchReference: false } });
    const named = pairsOf(run(left, right, definition)).map((pair) => [
      left[pair.left]?.externalId,
      right[pair.right]?.externalId,
      right[pair.right]?.source,
    ]);
    expect(named).toEqual([
      ['Z', '10', 'S'],
      ['a', '9', 'S'],
      ['b', 'x', 'S1'],
      ['é', 'x', 'S2'],
    ]);
  });

  test('records that only a compared field tells apart pair the same in every order', () => {
    const twin = (order: string) => record({ id: 'T', fields: { external_id: 'T', order } });
    const definition = rules(
      { type: 'EXACT', config: { matchReference: false } },
      { type: 'EXACT', config: { matchReference: false, matchFields: ['order'] } },
    );
    const right = [record({ fields: { order: 'o2' } })];
    for (const left of [
      [twin('o1'), twin('o2')],
      [twin('o2'), twin('o1')],
    ]) {
      const [pair] = pairsOf(run(left, right, definition));
      expect(left[pair?.left as number]?.fields.order).toBe('o1');
    }
  });
});
