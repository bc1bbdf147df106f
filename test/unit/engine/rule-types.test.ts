import { describe, expect, test } from 'vitest';
import { confidence, pairsOf, record, rules, run, type Written } from './records.ts';

/** Whether two records match under one rule. */
const matches = (left: Written, right: Written, rule: Parameters<typeof confidence>[2]) =>
  confidence(left, right, rule) !== undefined;

const ref = (reference: string | null, rest: Written = {}): Written => ({ ...rest, fields: { reference } });

describe('EXACT', () => {
  const rule = (config: object) => ({ type: 'EXACT' as const, config: { matchReference: false, ...config } });

  test('compares amounts to the last decimal, sign included', () => {
    expect(matches({ amount: '1.00000001' }, { amount: '1.00000001' }, rule({}))).toBe(true);
    expect(matches({ amount: '1.00000001' }, { amount: '1.00000002' }, rule({}))).toBe(false);
    expect(matches({ amount: '100' }, { amount: '-100' }, rule({}))).toBe(false);
    expect(matches({ amount: '99999999999999999999' }, { amount: '99999999999999999998' }, rule({}))).toBe(false);
  });

  test('compares UTC days, or instants', () => {
    const [morning, night, next] = ['2026-02-28T00:00:00Z', '2026-02-28T23:59:59.999Z', '2026-03-01T00:00:00Z'];
    expect(matches({ at: morning }, { at: night }, rule({}))).toBe(true);
    expect(matches({ at: night }, { at: next }, rule({}))).toBe(false);
    expect(matches({ at: morning }, { at: night }, rule({ datePrecision: 'TIMESTAMP' }))).toBe(false);
    expect(matches({ at: night }, { at: '2026-03-01T02:59:59.999+03:00' }, rule({ datePrecision: 'TIMESTAMP' }))).toBe(
      true,
    );
    expect(matches({ at: morning }, { at: '2031-01-01' }, rule({ matchDate: false }))).toBe(true);
  });

  test('compares the reference trimmed, and by default without the case of A–Z', () => {
    const byReference = (config: object = {}) => rule({ matchReference: true, referenceField: 'reference', ...config });
    expect(matches(ref(' Inv-7'), ref('INV-7 '), byReference())).toBe(true);
    expect(matches(ref('Inv-7'), ref('INV-7'), byReference({ caseInsensitive: false }))).toBe(false);
    expect(matches(ref('é'), ref('É'), byReference())).toBe(false);
    expect(matches(ref('éA'), ref('éa'), byReference())).toBe(true);
    expect(matches(ref(''), ref(null), byReference())).toBe(true);
    expect(matches(ref(' '), ref('INV-7'), byReference())).toBe(false);
    expect(matches(ref(''), ref(null), byReference({ referenceMustSet: true }))).toBe(false);
  });

  test('takes the external id as the reference when no field is named', () => {
    const byId = { type: 'EXACT' as const };
    expect(matches({ id: 'T1' }, { id: 't1' }, byId)).toBe(true);
    expect(matches({ id: 'T1' }, { id: 'T2' }, byId)).toBe(false);
  });

  test('compares further fields as they are, trimmed; a blank one is no evidence', () => {
    const byFields = rule({ matchFields: ['order', 'code'] });
    const keys = (order: string | null, code: string | null) => ({ fields: { order, code } });
    expect(matches(keys('o1', 'c1'), keys(' o1 ', 'c1'), byFields)).toBe(true);
    expect(matches(keys('o1', 'c1'), keys('O1', 'c1'), byFields)).toBe(false);
    expect(matches(keys('o1', 'c1'), keys('o1', 'c2'), byFields)).toBe(false);
    expect(matches(keys('o1', ''), keys('o1', ''), byFields)).toBe(false);
    expect(matches(keys('o1', null), keys('o1', null), byFields)).toBe(false);
  });

  test('pairs the nearest amount, then the nearest day, where it does not compare them', () => {
    const right = [
      record({ amount: '90', at: '2026-03-10' }),
      record({ amount: '99', at: '2026-03-14' }),
      record({ amount: '101', at: '2026-03-12' }),
    ];
    const keyed = right.map((r) => ({ ...r, fields: { ...r.fields, order: 'o1' } }));
    const left = [record({ at: '2026-03-10', fields: { order: 'o1' } })];
    const definition = rules(rule({ matchAmount: false, matchDate: false, matchFields: ['order'] }));
    expect(pairsOf(run(left, keyed, definition))).toMatchObject([{ left: 0, right: 2 }]);
  });
});

describe('TOLERANCE', () => {
  const rule = (config: object) => ({
    type: 'TOLERANCE' as const,
    config: { matchReference: false, absTolerance: '0', percentTolerance: '0', ...config },
  });

  test('takes the larger of the absolute tolerance and percent of the base, both included', () => {
    const both = rule({ absTolerance: '0.50', percentTolerance: '0.005' });
    expect(matches({ amount: '10.00' }, { amount: '10.50' }, both)).toBe(true);
    expect(matches({ amount: '10.00' }, { amount: '10.51' }, both)).toBe(false);
    expect(matches({ amount: '1000.00' }, { amount: '995.00' }, both)).toBe(true);
    expect(matches({ amount: '1000.00' }, { amount: '994.99' }, both)).toBe(false);
  });

  test.each([
    // A difference of 10 between 100 and 90 is 10 % of 100, 11.1 % of 90 and 10.53 % of 95.
    ['MAX', '0.1', true],
    ['MAX', '0.09999999', false],
    ['MIN', '0.11111112', true],
    ['MIN', '0.11111111', false],
    ['AVERAGE', '0.10526316', true],
    ['AVERAGE', '0.10526315', false],
    ['LEFT', '0.1', true],
    ['LEFT', '0.09999999', false],
    ['RIGHT', '0.11111112', true],
    ['RIGHT', '0.11111111', false],
  ])('percent of %s: %s of 100 and 90 is %s', (percentageBase, percentTolerance, expected) => {
    const percent = rule({ percentageBase, percentTolerance });
    expect(matches({ amount: '100' }, { amount: '90' }, percent)).toBe(expected);
    expect(matches({ amount: '-100' }, { amount: '-90' }, percent)).toBe(expected);
  });

  test('rounds both amounts before it compares them', () => {
    expect(matches({ amount: '10.004' }, { amount: '9.995' }, rule({}))).toBe(true);
    expect(matches({ amount: '10.005' }, { amount: '10.00' }, rule({}))).toBe(false);
    expect(matches({ amount: '10.005' }, { amount: '10.00' }, rule({ roundingMode: 'BANKERS' }))).toBe(true);
    expect(matches({ amount: '10.004' }, { amount: '10.00' }, rule({ roundingScale: 3 }))).toBe(false);
    expect(matches({ amount: '-10.009' }, { amount: '-10.00' }, rule({ roundingMode: 'TRUNCATE' }))).toBe(true);
  });

  test('never takes money that came for money that went, however generous it is', () => {
    const generous = rule({ absTolerance: '500', percentTolerance: '1' });
    expect(matches({ amount: '100' }, { amount: '-100' }, generous)).toBe(false);
    expect(
      matches(
        { id: 'T', amount: '0.01' },
        { id: 'T', amount: '-0.01' },
        rule({ absTolerance: '1', matchReference: true }),
      ),
    ).toBe(false);
    expect(matches({ amount: '-100' }, { amount: '-100' }, generous)).toBe(true);
  });

  test('takes dates up to the window apart, either way, as whole UTC days', () => {
    const window = rule({ dateWindowDays: 1 });
    expect(matches({ at: '2026-02-28T00:00:00Z' }, { at: '2026-03-01T23:59:59Z' }, window)).toBe(true);
    expect(matches({ at: '2026-03-01T23:59:59Z' }, { at: '2026-02-28T00:00:00Z' }, window)).toBe(true);
    expect(matches({ at: '2026-02-27T23:59:59Z' }, { at: '2026-03-01T00:00:00Z' }, window)).toBe(false);
  });

  test('compares amounts of different currencies as plain numbers when it ignores the currency', () => {
    const pair = [{ currency: 'BRL' }, { currency: 'USD' }] as const;
    expect(matches(...pair, rule({}))).toBe(false);
    // Amount 40, date 20, reference 10 are 70: enough only with the reference.
    expect(
      confidence(
        { ...pair[0], id: 'T' },
        { ...pair[1], id: 'T' },
        rule({ matchCurrency: false, matchReference: true }),
      ),
    ).toBe(70);
    expect(confidence(...pair, rule({ matchCurrency: false }))).toBe(60);
  });
});

describe('DATE_LAG', () => {
  const rule = (config: object) => ({ type: 'DATE_LAG' as const, config });
  const lag = (days: number): [Written, Written] => [
    { at: '2026-02-26T18:00:00Z' },
    { at: new Date(Date.parse('2026-02-26T06:00:00Z') + days * 86_400_000).toISOString() },
  ];

  test.each([
    ['ABS', { minDays: 1, maxDays: 3 }, [-3, -2, -1, 1, 2, 3]],
    ['LEFT_BEFORE_RIGHT', { minDays: 0, maxDays: 2 }, [0, 1, 2]],
    ['LEFT_BEFORE_RIGHT', { minDays: 2, maxDays: 3 }, [2, 3]],
    ['RIGHT_BEFORE_LEFT', { minDays: 0, maxDays: 2 }, [-2, -1, 0]],
    ['RIGHT_BEFORE_LEFT', { minDays: 1, maxDays: 1 }, [-1]],
    ['ABS', { minDays: 1, maxDays: 3, inclusive: false }, [-2, 2]],
    ['ABS', { minDays: 0, maxDays: 3, inclusive: false }, [-2, -1, 1, 2]],
    ['RIGHT_BEFORE_LEFT', { minDays: 0, maxDays: 2, inclusive: false }, [-1]],
  ])('%s %j takes right days at %j from the left one', (direction, config, expected) => {
    const taken = [-4, -3, -2, -1, 0, 1, 2, 3, 4].filter((days) =>
      matches(...lag(days), rule({ direction, ...config })),
    );
    expect(taken).toEqual(expected);
  });

  test('allows a fee, and compares no reference but the fields it is told to', () => {
    expect(matches({ amount: '100' }, { amount: '97.50' }, rule({ feeTolerance: '2.5' }))).toBe(true);
    expect(matches({ amount: '100' }, { amount: '97.49' }, rule({ feeTolerance: '2.5' }))).toBe(false);
    expect(matches({ amount: '1' }, { amount: '-1' }, rule({ feeTolerance: '2.5' }))).toBe(false);
    const keyed = rule({ matchFields: ['order'] });
    expect(matches({ fields: { order: 'o1' } }, { fields: { order: 'o1' } }, keyed)).toBe(true);
    expect(matches({ fields: { order: 'o1' } }, { fields: { order: 'o2' } }, keyed)).toBe(false);
  });
});

test('rules run in ascending priority, and each sees only what earlier ones left open', () => {
  const left = [record({ id: 'A', amount: '10.00' }), record({ id: 'B', amount: '10.00' })];
  const right = [record({ id: 'B', amount: '10.00' }), record({ id: 'C', amount: '10.03' })];
  const definition = rules(
    { type: 'TOLERANCE', priority: 20, config: { matchReference: false, absTolerance: '0.05' } },
    { type: 'EXACT', priority: 10 },
  );
  const output = run(left, right, definition);
  expect(pairsOf(output)).toMatchObject([
    { rule: 1, left: 1, right: 0 },
    { rule: 0, left: 0, right: 1 },
  ]);
  expect(output.rules).toMatchObject([
    { rule: 1, pairs: 1 },
    { rule: 0, pairs: 1 },
  ]);
});
