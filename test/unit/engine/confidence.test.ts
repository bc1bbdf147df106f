import { describe, expect, test } from 'vitest';
import { confidence, record, rules, run } from './records.ts';

const day = (d: number) => `2026-03-${String(10 + d).padStart(2, '0')}`;

describe('confidence', () => {
  test('of an EXACT match is 100, whatever it does not compare', () => {
    expect(confidence({ id: 'T' }, { id: 'T' }, { type: 'EXACT' })).toBe(100);
    const loose = { matchReference: false, matchDate: false };
    expect(confidence({}, { at: day(15) }, { type: 'EXACT', config: loose })).toBe(100);
  });

  test('of an EXACT match across currencies loses the currency', () => {
    const config = { matchCurrency: false, matchReference: false };
    expect(confidence({}, { currency: 'USD' }, { type: 'EXACT', config })).toBe(70);
    expect(confidence({}, {}, { type: 'EXACT', config })).toBe(100);
  });

  test.each([
    // Four days of room: each day costs a fifth of the date's 20.
    [0, 90],
    [1, 86],
    [2, 82],
    [3, 78],
    [4, 74],
  ])('of a lag of %i days in at most 4 is %i, without a reference', (days, expected) => {
    expect(confidence({}, { at: day(days) }, { type: 'DATE_LAG', config: { maxDays: 4 } })).toBe(expected);
    const keyed = { maxDays: 4, matchFields: ['order'] };
    const fields = { order: 'o1' };
    expect(confidence({ fields }, { at: day(days), fields }, { type: 'DATE_LAG', config: keyed })).toBe(expected + 10);
  });

  test.each([
    // amount: 1 − difference / larger; 40 for the amount, 30 currency, 20 date.
    ['100.00', '100.00', 0, 90],
    ['100.00', '99.00', 0, 90], //  39.6  + 50 = 89.6
    ['100.00', '98.00', 0, 89], //  39.2  + 50 = 89.2
    ['100.00', '98.75', 0, 90], //  39.5  + 50 = 89.5, half up
    ['100.00', '98.74', 0, 89], //  39.496 + 50
    ['100.00', '75.00', 0, 80], //  30    + 50
    ['100.00', '25.00', 0, 60], //  10    + 50
    ['100.00', '23.75', 0, 60], //   9.5  + 50 = 59.5, half up
    ['100.00', '23.74', 0, undefined], // 59.496: no match
    ['100.00', '100.00', 2, 77], // 40 + 30 + 20/3
    ['0.00', '0.00', 0, 90],
    ['0.00', '0.01', 0, undefined],
  ])('of %s against %s, %i days apart in a window of 2, is %s', (left, right, days, expected) => {
    const config = { matchReference: false, absTolerance: '1000', dateWindowDays: 2, percentTolerance: '0' };
    expect(confidence({ amount: left }, { amount: right, at: day(days) }, { type: 'TOLERANCE', config })).toBe(
      expected,
    );
  });

  test('counts two blank references as an equal reference, where the rule does', () => {
    const config = { referenceField: 'reference' };
    expect(confidence({ fields: { reference: '' } }, { fields: {} }, { type: 'TOLERANCE', config })).toBe(100);
  });

  test('is kept with its parts, in ten-thousandths', () => {
    const definition = rules({
      type: 'TOLERANCE',
      config: { matchReference: false, matchCurrency: false, dateWindowDays: 2 },
    });
    const { pairs } = run([record({ amount: '100.00' })], [record({ amount: '99.67', at: day(1) })], definition);
    expect([...pairs.confidence]).toEqual([83]); // 39.868 + 30 + 13.332
    expect([...pairs.parts.amount]).toEqual([9967]);
    expect([...pairs.parts.currency]).toEqual([10_000]);
    expect([...pairs.parts.date]).toEqual([6666]);
    expect([...pairs.parts.reference]).toEqual([0]);
  });

  test('under 60 is no match, so that the record stays open for the next rule', () => {
    const left = [record({ id: 'L', amount: '100.00' })];
    const right = [record({ id: 'R', amount: '90.00', currency: 'USD', at: day(1) })];
    const loose = { matchCurrency: false, matchReference: false, absTolerance: '20', dateWindowDays: 1 };
    expect(run(left, right, rules({ type: 'TOLERANCE', config: loose })).pairs.size).toBe(0); // 36 + 10
  });
});
