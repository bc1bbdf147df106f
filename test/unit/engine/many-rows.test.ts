import { parseAmount } from '@matcher/shared/money/decimal.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matchOneToOne } from '../../../workers/matching/engine/match.ts';
import { packed } from '../../../workers/matching/engine/pack.ts';
import { radixSort, wordsOf } from '../../../workers/matching/engine/radix.ts';
import { RowOrder } from '../../../workers/matching/engine/row-order.ts';
import type { PackedColumns } from '../../../workers/matching/engine/types.ts';
import { matchNaively, type NaiveRecord } from '../../support/naive-matching.ts';
import { columns, pairsOf, record, rules, run, sorted } from './records.ts';

/** What small cases don't reach: the ways that pay only from some hundred rows on. */

describe('sorting by words', () => {
  test('is what comparing them gives, equal ones as they stand', () => {
    const value = fc.oneof(
      fc.integer({ min: -3, max: 3 }),
      fc.maxSafeInteger().map((n) => Math.trunc(n / 4)),
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 201, maxLength: 600, size: 'max' }), (values) => {
        const expected = values.map((_, i) => i).sort((a, b) => (values[a] as number) - (values[b] as number) || a - b);
        expect([...radixSort(wordsOf(Float64Array.from(values)), values.length)]).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });
});

describe('the order of many rows', () => {
  test('is that of their ids, whatever these have in common', () => {
    const id = fc.oneof(
      fc.nat({ max: 400 }).map((n) => `2026-03-10-payment-${String(n).padStart(12, '0')}-x`),
      fc.nat({ max: 400 }).map((n) => `2026-03-10-payment-${n}`),
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.constantFrom('', 'é', 'e\u0301', '\uffee', '\u{1f4b0}', '\ue000z', '\u{10ffff}'),
    );
    fc.assert(
      fc.property(fc.array(id, { minLength: 60, maxLength: 500, size: 'max' }), (ids) => {
        const records = ids.map((externalId, i) => ({ ...record({ source: `S${i}` }), externalId }));
        const order = new RowOrder(packed(columns(records)), []);
        const expected = ids
          .map((_, i) => i)
          .sort((a, b) => {
            if (ids[a] !== ids[b]) return (ids[a] as string) < (ids[b] as string) ? -1 : 1;
            return `S${a}` < `S${b}` ? -1 : 1;
          });
        expect([...order.rank(Int32Array.from(ids.keys()))]).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });
});

/** Pseudo-random records of few amounts and days, so that cells hold many. */
function hot(side: string, size: number, seed: number): NaiveRecord[] {
  let state = seed;
  const next = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  return Array.from({ length: size }, (_, i) => ({
    ...record({
      id: `${side}-2026-${String(next(size)).padStart(9, '0')}-${i}`,
      currency: next(4) === 0 ? 'USD' : 'BRL',
    }),
    amount: parseAmount('100') + BigInt(next(3) === 0 ? 7 : next(40)) * parseAmount('0.01'),
    timestamp: Date.UTC(2026, 1, 25 + next(6)),
  }));
}

test('hundreds of records around hot amounts pair as the definition says', () => {
  const config = { matchReference: false, percentTolerance: '0' };
  for (const [seed, absTolerance] of [
    [1, '0.02'],
    [2, '0.10'],
  ] as const) {
    const [left, right] = [hot('L', 240, seed), hot('R', 220, seed + 100)];
    const definition = rules({ type: 'TOLERANCE', config: { ...config, absTolerance, dateWindowDays: 2 } });
    expect(sorted(pairsOf(run(left, right, definition)))).toEqual(sorted(matchNaively(left, right, definition)));
  }
}, 300_000);

test('keys that are hashed alike are told apart', () => {
  // Of 200,000 × 200,000 different references some nine share all 32 bits of their hash.
  const size = 200_000;
  const side = (from: number) =>
    Array.from({ length: size }, (_, i) => ({
      ...record({ id: `T${from + i}` }),
      fields: { external_id: `T${from + i}` },
    }));
  const [left, right] = [side(0), side(size / 2)];
  const { pairs } = run(left, right, rules({ type: 'EXACT' }));
  expect(pairs.size).toBe(size / 2);
  for (let i = 0; i < pairs.size; i++) {
    if (left[pairs.left[i] as number]?.externalId !== right[pairs.right[i] as number]?.externalId)
      throw new Error(`${i}`);
  }
}, 300_000);

describe('columns in typed arrays', () => {
  const text = (...texts: string[]) => {
    const bytes = new TextEncoder().encode(texts.join(''));
    const start = new Uint32Array(texts.length + 1);
    texts.forEach((one, i) => {
      start[i + 1] = (start[i] as number) + new TextEncoder().encode(one).length;
    });
    return { bytes, start };
  };
  const side = (rest: Partial<PackedColumns>): PackedColumns => ({
    size: 2,
    externalId: text('x', 'y'),
    amount: { low: Float64Array.of(1e8, 2e8) },
    currency: { codes: Int32Array.of(0, 0), names: ['BRL'] },
    timestamp: new Float64Array(2),
    field: () => null,
    ...rest,
  });
  const exact = rules({ type: 'EXACT', config: { matchReference: false } });

  test('are taken as they are, currencies by their names', () => {
    const right = side({ currency: { codes: Int32Array.of(1, 2), names: ['USD', 'BRL', 'EUR'] } });
    expect(pairsOf(matchOneToOne({ left: side({}), right, rules: exact }))).toMatchObject([{ left: 0, right: 0 }]);
  });

  test('may have amounts of one word on one side and of two on the other', () => {
    const high = { high: Float64Array.of(0, 1e13), low: Float64Array.of(1e8, 1) };
    const pairs = pairsOf(matchOneToOne({ left: side({}), right: side({ amount: high }), rules: exact }));
    expect(pairs).toMatchObject([{ left: 0, right: 0 }]);
  });

  test('have references trimmed of the white space of every language', () => {
    const reference = (...texts: string[]) => side({ field: () => text(...texts) });
    const definition = rules({ type: 'EXACT', config: { referenceField: 'reference', matchAmount: false } });
    const spaces = '\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000\ufeff \t\n\v\f\r';
    const left = reference(`${spaces}É${spaces}`, 'é\u200b');
    const pairs = pairsOf(matchOneToOne({ left, right: reference('é', 'É'), rules: definition }));
    expect(pairs).toMatchObject([{ left: 0, right: 1 }]);
  });
});
