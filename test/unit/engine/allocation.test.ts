import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { rulesSchema } from '@matcher/shared/jobs/contracts/rules.ts';
import { formatAmount, parseAmount } from '@matcher/shared/money/decimal.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { allocate } from '../../../workers/matching/engine/allocate.ts';
import type { AllocationOutput, GroupMembers } from '../../../workers/matching/engine/types.ts';
import { allocateNaively, type NaiveGroup } from '../../support/naive-allocation.ts';
import type { NaiveForbidden, NaiveRecord } from '../../support/naive-matching.ts';
import { anyForbidden, columns, inColumns, record, rules, type Written } from './records.ts';

const run = (
  left: NaiveRecord[],
  right: NaiveRecord[],
  definition: Rule[],
  manyWholes = false,
  forbidden: NaiveForbidden = [],
) =>
  allocate(
    { left: columns(left), right: columns(right), rules: definition, forbidden: inColumns(forbidden) },
    manyWholes,
  );

function groupsOf({ groups }: AllocationOutput): NaiveGroup[] {
  const members = ({ start, rows }: GroupMembers, g: number) =>
    [...rows.subarray(start[g], start[g + 1])].sort((a, b) => a - b);
  return Array.from({ length: groups.size }, (_, g) => ({
    rule: groups.rule[g] as number,
    left: members(groups.left, g),
    right: members(groups.right, g),
    confidence: groups.confidence[g] as number,
  }));
}

const sorted = (groups: readonly NaiveGroup[]) =>
  groups
    .map(({ rule, left, right, confidence }) => ({
      rule,
      left: left.toSorted((a, b) => a - b),
      right: right.toSorted((a, b) => a - b),
      confidence,
    }))
    .sort((a, b) => a.rule - b.rule || (a.left[0] as number) - (b.left[0] as number));

const reasonsOf = ({ findings }: AllocationOutput) =>
  new Map([
    ...[...findings.left].map(([row, { reason }]) => [`left ${row}`, reason] as const),
    ...[...findings.right].map(([row, { reason }]) => [`right ${row}`, reason] as const),
  ]);

const payout = (amount: string, rest: Written = {}) => record({ id: `P${amount}`, amount, ...rest });
const order = (id: string, amount: string, rest: Written = {}) => record({ id, amount, ...rest });
const free = { type: 'TOLERANCE' as const, config: { matchReference: false, dateWindowDays: 3 } };

describe('a payout and its orders', () => {
  test('by a common field: sales less refunds and a fee', () => {
    const settled = { fields: { settlement: 's1' } };
    const right = [
      order('a', '70', settled),
      order('b', '50', settled),
      order('c', '-15', settled),
      order('d', '-5', settled),
    ];
    const output = run([payout('100', settled)], right, rules({ type: 'EXACT', config: { groupBy: ['settlement'] } }));
    expect(groupsOf(output)).toEqual([{ rule: 0, left: [0], right: [0, 1, 2, 3], confidence: 100 }]);
    expect(output.groups.right.amounts.map((amount) => formatAmount(amount))).toEqual(['70', '50', '-15', '-5']);
  });

  test('by a list that names them, and nothing that it does not name', () => {
    const left = [payout('30', { fields: { included_order_ids: 'a| c' } })];
    const right = ['a', 'b', 'c'].map((id) => order(id, '15'));
    const groupBy = { side: 'LEFT' as const, listField: 'included_order_ids' };
    expect(groupsOf(run(left, right, rules({ type: 'EXACT', config: { groupBy } })))).toMatchObject([
      { right: [0, 2] },
    ]);
  });

  test('the other way round, and many with many', () => {
    const day = { fields: { seller: 'x' } };
    const many = [order('a', '40', day), order('b', '60', day)];
    const toLeft = rules({ type: 'EXACT', config: { groupBy: ['seller'], allocationDirection: 'RIGHT_TO_LEFT' } });
    expect(groupsOf(run(many, [payout('100', day)], toLeft))).toMatchObject([{ left: [0, 1], right: [0] }]);
    const both = rules({ type: 'EXACT', config: { groupBy: ['seller'] } });
    expect(groupsOf(run(many, [order('c', '99', day), order('d', '1', day)], both, true))).toMatchObject([
      { left: [0, 1], right: [0, 1] },
    ]);
  });

  test('where one order does not belong, the others do', () => {
    const settled = { fields: { settlement: 's1' } };
    const right = [order('a', '70', settled), order('b', '30', settled), order('c', '11', settled)];
    const output = run([payout('100', settled)], right, rules({ type: 'EXACT', config: { groupBy: ['settlement'] } }));
    expect(groupsOf(output)).toMatchObject([{ right: [0, 1] }]);
  });

  test('that do not add up stay open, with what is missing', () => {
    const settled = { fields: { settlement: 's1' } };
    const definition = rules({ type: 'EXACT', config: { groupBy: ['settlement'] } });
    const output = run([payout('100', settled)], [order('a', '70', settled), order('b', '20', settled)], definition);
    expect(output.groups.size).toBe(0);
    const finding = { reason: 'SPLIT_INCOMPLETE', rule: 0, gap: parseAmount('10') };
    expect([...output.findings.left]).toEqual([[0, finding]]);
    expect([...output.findings.right]).toEqual([
      [0, finding],
      [1, finding],
    ]);
  });

  test('that fall short are a partial match where that is allowed: less sure, and with what there is', () => {
    const settled = { fields: { settlement: 's1' } };
    const config = { groupBy: ['settlement'], allowPartial: true };
    const output = run([payout('100', settled)], [order('a', '60', settled)], rules({ type: 'EXACT', config }));
    expect(groupsOf(output)).toEqual([{ rule: 0, left: [0], right: [0], confidence: 84 }]); // 24 + 60
    expect(output.groups.left.amounts).toEqual([parseAmount('60')]);
    const over = run([payout('100', settled)], [order('a', '160', settled)], rules({ type: 'EXACT', config }));
    expect(over.groups.size).toBe(0);
  });

  test.each([
    ['ABS', '0.02', true],
    ['ABS', '0.01', false],
    ['PERCENT', '0.0002', true],
    ['PERCENT', '0.00019999', false],
  ])('within a tolerance: %s %s', (allocationToleranceMode, allocationToleranceValue, matched) => {
    const config = { ...free.config, allocationToleranceMode, allocationToleranceValue } as typeof free.config;
    const output = run([payout('100')], [order('a', '60'), order('b', '39.98')], rules({ ...free, config }));
    expect(output.groups.size).toBe(matched ? 1 : 0);
  });
});

describe('which parts', () => {
  const ids = (right: NaiveRecord[], amount = '100') =>
    groupsOf(run([payout(amount, { at: '2026-03-10' })], right, rules(free)))[0]?.right.map(
      (row) => right[row]?.externalId,
    );

  test('the fewest, then the nearest in days, then the smallest ids', () => {
    expect(ids([order('a', '50'), order('b', '30'), order('c', '20'), order('d', '50')])).toEqual(['a', 'd']);
    const [near, far] = [{ at: '2026-03-10' }, { at: '2026-03-12' }];
    expect(ids([order('a', '50', far), order('b', '50', near), order('c', '50', near)])).toEqual(['b', 'c']);
    expect(ids([order('c', '60'), order('a', '40'), order('b', '40'), order('d', '60')])).toEqual(['c', 'a']);
  });

  test('of many alike the search stays short', () => {
    const right = Array.from({ length: 400 }, (_, i) => order(`o${String(i).padStart(3, '0')}`, '10'));
    expect(ids(right)).toEqual(Array.from({ length: 10 }, (_, i) => `o00${i}`));
  });

  test('are not guessed where the search is too long', () => {
    const right = Array.from({ length: 60 }, (_, i) => order(`o${i}`, `${1000 + 2 * ((i * 7919) % 997)}`));
    const output = run([payout('30001')], right, rules(free));
    expect(output.groups.size).toBe(0);
    expect(output.findings.left.get(0)).toMatchObject({ reason: 'SEARCH_LIMIT' });
  });
});

const written = fc.constantFrom(
  '0',
  '10',
  '20',
  '30',
  '40',
  '-10',
  '-5',
  '0.00000001',
  '99999999999999999999',
  '15',
  '25.5',
);

/** Small sides with few different amounts, so that sums often agree. */
const one = fc
  .record({
    externalId: fc.constantFrom('a', 'A', 'b', 'c', 'd', 'é', '10', '9'),
    source: fc.constantFrom('S1', 'S2', 'S3'),
    amount: written.map(parseAmount),
    amountBase: fc.option(fc.constantFrom('10', '20', '30').map(parseAmount)),
    baseCurrency: fc.constantFrom('EUR', 'EUR', null),
    currency: fc.constantFrom('BRL', 'BRL', 'BRL', 'USD'),
    timestamp: fc.constantFrom('2026-02-27', '2026-02-28', '2026-03-01', '2026-03-02').map((day) => Date.parse(day)),
    group: fc.constantFrom('g1', 'g1', ' g1', 'g2', '', null),
    list: fc.constantFrom('a|b', 'c | d|a', 'é', 'A|10', '', null),
    state: fc.constantFrom('ok', 'ok', 'failed'),
    text: fc.constantFrom('Padaria São José', 'padaria sao jose', 'Mercado', null),
  })
  .map(({ group, list, state, text, ...rest }) => ({
    ...rest,
    fields: { external_id: rest.externalId, group, list, state, text },
  }));
const side = (maxLength: number) =>
  fc.uniqueArray(one, { maxLength, size: 'max', selector: (r) => `${r.source} ${r.externalId}` });

const allocation = {
  allocationDirection: fc.constantFrom('LEFT_TO_RIGHT' as const, 'RIGHT_TO_LEFT' as const),
  allocationToleranceMode: fc.constantFrom('ABS' as const, 'PERCENT' as const),
  allocationToleranceValue: fc.constantFrom('0', '0', '0.00000001', '0.1', '1'),
  allocationUseBaseAmount: fc.constantFrom(false, false, true),
  matchCurrency: fc.constantFrom(true, true, false),
  where: fc.constantFrom(undefined, { right: [{ field: 'state', operator: 'NOT_EQUALS' as const, value: 'failed' }] }),
};
const binding = fc.constantFrom(
  {},
  {},
  { similarity: { field: 'text', floor: '0.7' } },
  { groupBy: ['group'] },
  { groupBy: ['group'], allowPartial: true },
  { groupBy: { side: 'LEFT' as const, listField: 'list' } },
  { groupBy: { side: 'RIGHT' as const, listField: 'list' }, allowPartial: true },
);
const anyRule = fc
  .tuple(
    fc.record(allocation),
    binding,
    fc.constantFrom(
      { type: 'EXACT' as const, config: { matchReference: false } },
      { type: 'EXACT' as const, config: { matchReference: false, matchDate: false } },
      { type: 'EXACT' as const, config: { referenceField: 'group', referenceMustSet: true, matchBaseCurrency: true } },
      { type: 'TOLERANCE' as const, config: { matchReference: false, dateWindowDays: 1 } },
      { type: 'TOLERANCE' as const, config: { matchReference: false, dateWindowDays: 3, matchBaseAmount: true } },
      { type: 'DATE_LAG' as const, config: { minDays: 1, maxDays: 3 } },
      { type: 'DATE_LAG' as const, config: { maxDays: 2, direction: 'LEFT_BEFORE_RIGHT' as const } },
    ),
  )
  .map(([common, bound, { type, config }]) => ({ type, config: { ...common, ...bound, ...config } }));
const anyRules = fc
  .array(anyRule, { minLength: 1, maxLength: 2 })
  .map((all) => rulesSchema.safeParse(all.map((rule, i) => ({ ...rule, priority: 10 - i }))))
  .filter((parsed) => parsed.success)
  .map(({ data }) => data as Rule[]);

const reconciliation = fc.record({ left: side(6), right: side(7), definition: anyRules, manyWholes: fc.boolean() });

describe('allocation against the definition', () => {
  test('gives the identical groups and reasons on thousands of random reconciliations', () => {
    fc.assert(
      fc.property(reconciliation, ({ left, right, definition, manyWholes }) => {
        const output = run(left, right, definition, manyWholes);
        const naive = allocateNaively(left, right, definition, manyWholes);
        expect(sorted(groupsOf(output))).toEqual(sorted(naive.groups));
        expect(reasonsOf(output)).toEqual(naive.reasons);
      }),
      { numRuns: 3000 },
    );
  }, 300_000);

  test('gives no group with both rows of a forbidden pair, and else what the definition says', () => {
    const forbidding = reconciliation.chain((given) =>
      fc.record({ given: fc.constant(given), forbidden: anyForbidden(given.left.length, given.right.length) }),
    );
    fc.assert(
      fc.property(forbidding, ({ given: { left, right, definition, manyWholes }, forbidden }) => {
        const output = run(left, right, definition, manyWholes, forbidden);
        const naive = allocateNaively(left, right, definition, manyWholes, forbidden);
        expect(sorted(groupsOf(output))).toEqual(sorted(naive.groups));
        expect(reasonsOf(output)).toEqual(naive.reasons);
        for (const group of groupsOf(output)) {
          for (const [l, r] of forbidden) expect(group.left.includes(l) && group.right.includes(r)).toBe(false);
        }
      }),
      { numRuns: 1500 },
    );
  }, 300_000);

  test('gives the same groups in whatever order the rows come', () => {
    const shuffled = reconciliation.chain((given) =>
      fc.record({
        given: fc.constant(given),
        leftOrder: fc.shuffledSubarray([...given.left.keys()], { minLength: given.left.length }),
        rightOrder: fc.shuffledSubarray([...given.right.keys()], { minLength: given.right.length }),
      }),
    );
    fc.assert(
      fc.property(shuffled, ({ given: { left, right, definition, manyWholes }, leftOrder, rightOrder }) => {
        const [l, r] = [leftOrder.map((row) => left[row] as never), rightOrder.map((row) => right[row] as never)];
        const permuted = groupsOf(run(l, r, definition, manyWholes)).map((group) => ({
          ...group,
          left: group.left.map((row) => leftOrder[row] as number),
          right: group.right.map((row) => rightOrder[row] as number),
        }));
        expect(sorted(permuted)).toEqual(sorted(groupsOf(run(left, right, definition, manyWholes))));
      }),
      { numRuns: 1000 },
    );
  }, 300_000);
});
