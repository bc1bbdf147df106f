import type { RuleInput } from '@matcher/shared/jobs/contracts/rules.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { explainOpen } from '../../../workers/matching/engine/explain.ts';
import { APART } from '../../../workers/matching/engine/kept-apart.ts';
import { matchOneToOne } from '../../../workers/matching/engine/match.ts';
import type { NaiveRecord } from '../../support/naive-matching.ts';
import { anyRules, columns, record, rules, sides, type Written } from './records.ts';

type Rules = Omit<RuleInput, 'priority'>[];

function explain(left: NaiveRecord[], right: NaiveRecord[], definition: ReturnType<typeof rules>) {
  const input = { left: columns(left), right: columns(right), rules: definition };
  return explainOpen(input, matchOneToOne(input));
}

const explained = (left: Written[], right: Written[], ...written: Rules) =>
  explain(left.map(record), right.map(record), rules(...written));

const exact = { type: 'EXACT' as const };
const byAmount = { type: 'TOLERANCE' as const, config: { matchReference: false, dateWindowDays: 1 } };

describe('what stayed open', () => {
  test('is a duplicate when its partner went to a record with the same reference', () => {
    const twins = [
      { id: 'T', source: 'A' },
      { id: 'T', source: 'B' },
    ];
    const { left, right } = explained(twins, [{ id: 'T' }], exact);
    expect(right).toEqual([]);
    expect(left).toMatchObject([
      { row: 1, reason: 'DUPLICATE_TRANSACTION', nearMisses: [{ row: 0, rule: 0, apart: APART.TAKEN }] },
    ]);
  });

  test('is no duplicate where nothing but amount and date were compared', () => {
    expect(explained([{}, {}], [{}], byAmount).left).toMatchObject([
      { reason: 'UNMATCHED', nearMisses: [{ apart: APART.TAKEN }] },
    ]);
  });

  test('varies in its amount when reference and date agree', () => {
    const { left, right } = explained([{ id: 'T', amount: '100' }], [{ id: 'T', amount: '97' }], exact);
    const apart = APART.AMOUNT;
    expect(left).toMatchObject([{ reason: 'FEE_VARIANCE', nearMisses: [{ row: 0, apart }] }]);
    expect(right).toMatchObject([{ reason: 'FEE_VARIANCE', nearMisses: [{ row: 0, apart }] }]);
  });

  test('misses a base amount or currency that a rule compares', () => {
    const both = { matchBaseAmount: true, matchBaseCurrency: true };
    const full = { id: 'T', amountBase: '20', baseCurrency: 'EUR' };
    const rule = { type: 'EXACT' as const, config: both };
    expect(explained([{ ...full, amountBase: null }], [full], rule)).toMatchObject({
      left: [{ reason: 'MISSING_BASE_AMOUNT' }],
      right: [{ reason: 'UNMATCHED', nearMisses: [{ apart: APART.BASE_AMOUNT }] }],
    });
    expect(explained([{ ...full, baseCurrency: null }], [full], rule).left).toMatchObject([
      { reason: 'MISSING_BASE_CURRENCY' },
    ]);
  });

  test('shows what came nearest, by what is in the way, then by amount and days', () => {
    const near = [
      { id: 'x1', amount: '100.00', at: '2026-03-20' },
      { id: 'x2', amount: '100.00', at: '2026-03-13' },
      { id: 'x3', amount: '102.00', at: '2026-03-10' },
      { id: 'x4', amount: '900.00', at: '2026-01-10' },
    ];
    const [explanation] = explained([{ amount: '100.00', at: '2026-03-10' }], near, byAmount).left;
    expect(explanation?.nearMisses).toMatchObject([
      { row: 1, apart: APART.DATE },
      { row: 0, apart: APART.DATE },
      { row: 2, apart: APART.AMOUNT },
    ]);
  });

  test('says what of a rule was in the way', () => {
    const where = { right: [{ field: 'state', operator: 'EQUALS' as const, value: 'captured' }] };
    const apart = (l: Written, r: Written, config: object) =>
      explained([{ id: 'T', ...l }], [{ id: 'T', ...r }], { type: 'EXACT', config }).left[0]?.nearMisses[0]?.apart;
    expect(apart({}, { fields: { external_id: 'T', state: 'failed' } }, { where })).toBe(APART.WHERE);
    expect(apart({}, { currency: 'USD' }, {})).toBe(APART.CURRENCY);
    expect(apart({}, { at: '2026-03-11' }, {})).toBe(APART.DATE);
    expect(apart({}, {}, { similarity: { field: 'text', floor: '0.5' } })).toBe(APART.SIMILARITY);
  });

  test('was not searched to the end where one record could be any of a thousand', () => {
    const config = { matchReference: false, similarity: { field: 'text', floor: '0.9' } };
    const right = Array.from({ length: 1001 }, (_, i) => ({ fields: { text: `payment ${i}` } }));
    const { left } = explained([{ fields: { text: 'payment 7' } }], right, { type: 'EXACT', config });
    expect(left).toMatchObject([{ reason: 'SEARCH_LIMIT' }]);
    expect(explained([{ fields: { text: 'payment 7' } }], right.slice(1), { type: 'EXACT', config }).left).toEqual([]);
  });
});

test('each open record is explained once, and the same in whatever order the rows come', () => {
  const shuffled = fc
    .record({ given: sides(10), definition: anyRules })
    .chain(({ given: { left, right }, definition }) =>
      fc.record({
        left: fc.constant(left),
        right: fc.constant(right),
        definition: fc.constant(definition),
        leftOrder: fc.shuffledSubarray([...left.keys()], { minLength: left.length }),
        rightOrder: fc.shuffledSubarray([...right.keys()], { minLength: right.length }),
      }),
    );
  fc.assert(
    fc.property(shuffled, ({ left, right, definition, leftOrder, rightOrder }) => {
      const [l, r] = [leftOrder.map((row) => left[row] as never), rightOrder.map((row) => right[row] as never)];
      const straight = explain(left, right, definition);
      const permuted = explain(l, r, definition);
      const told = (all: typeof straight.left, own: number[], others: number[]) =>
        all
          .map(({ row, reason, nearMisses }) => ({
            row: own[row] as number,
            reason,
            nearMisses: nearMisses.map((miss) => ({ ...miss, row: others[miss.row] })),
          }))
          .sort((a, b) => a.row - b.row);
      expect(told(permuted.left, leftOrder, rightOrder)).toEqual(
        told(straight.left, [...left.keys()], [...right.keys()]),
      );
      expect(told(permuted.right, rightOrder, leftOrder)).toEqual(
        told(straight.right, [...right.keys()], [...left.keys()]),
      );
    }),
    { numRuns: 500 },
  );
}, 300_000);

test('a rule that allocates is refused between single records', () => {
  expect(() => explained([{}], [{}], { type: 'EXACT', config: { groupBy: ['settlement'] } })).toThrow(
    expect.objectContaining({ code: 'RULE_ALLOCATES' }),
  );
});
