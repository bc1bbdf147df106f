import { describe, expect, test } from 'vitest';
import { matchOneToOne } from '../../../workers/matching/engine/match.ts';
import type { Progress } from '../../../workers/matching/engine/types.ts';
import type { NaiveRecord } from '../../support/naive-matching.ts';
import { columns, record, rules, run } from './records.ts';

const tolerance = { matchReference: false, absTolerance: '0.05', percentTolerance: '0', dateWindowDays: 3 };

/** Records of one currency that spread over amounts and days, in a fixed pseudo-random way. */
function many(side: string, size: number, amounts: number, days: number): NaiveRecord[] {
  let state = side.charCodeAt(0);
  const next = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  return Array.from({ length: size }, (_, i) => ({
    ...record({ id: `${side}${i}` }),
    amount: BigInt(next(amounts)) * 1_000_000n + 10n ** 10n,
    timestamp: Date.UTC(2026, 0, 1 + next(days)),
  }));
}

describe('a run', () => {
  test('of nothing gives nothing', () => {
    const output = run([], [], rules({ type: 'EXACT' }));
    expect(output.pairs.size).toBe(0);
    expect(output.pairs.left).toHaveLength(0);
    expect(output.rules).toMatchObject([{ rule: 0, candidates: 0, pairs: 0 }]);
  });

  test('of unique references holds each record against one other', () => {
    const [left, right] = [many('T', 1000, 100, 10), many('T', 1000, 100, 10)];
    const { rules: statistics } = run(left, right, rules({ type: 'EXACT' }));
    expect(statistics).toMatchObject([{ candidates: 1000, pairs: 1000 }]);
  });

  test.each([
    ['amounts and days spread', 20_000, 365],
    ['few amounts', 50, 365],
    ['one amount on one day', 1, 1],
    ['one amount', 1, 365],
  ])('over one partition looks at few of the pairs: %s', (_, amounts, days) => {
    const size = 4000;
    const output = run(
      many('L', size, amounts, days),
      many('R', size, amounts, days),
      rules({ type: 'TOLERANCE', config: tolerance }),
    );
    expect(output.pairs.size).toBeGreaterThan(100);
    expect(output.rules[0]?.candidates).toBeLessThan(size * 40); // all pairs are size × 4000
  });

  test('ends with the reason of its signal once that is aborted, in the middle of a rule', () => {
    const reason = new Error('the job has to end');
    let looks = 0;
    const signal = {
      get aborted() {
        return ++looks > 3;
      },
      reason,
    };
    const [left, right] = [columns(many('L', 20_000, 50, 30)), columns(many('R', 20_000, 50, 30))];
    const definition = rules({ type: 'TOLERANCE', config: tolerance });
    expect(() => matchOneToOne({ left, right, rules: definition, signal })).toThrow(reason);
    expect(looks).toBe(4);
  });

  test('takes an AbortSignal', () => {
    const signal = AbortSignal.abort(new Error('already'));
    const definition = rules({ type: 'EXACT' });
    expect(() => matchOneToOne({ left: columns([]), right: columns([]), rules: definition, signal })).toThrow(
      'already',
    );
  });

  test('reports how far it is, and not too often', () => {
    const reports: Progress[] = [];
    const [left, right] = [columns(many('L', 20_000, 200, 60)), columns(many('R', 20_000, 200, 60))];
    const definition = rules(
      { type: 'EXACT', config: { matchReference: false, matchDate: false } },
      { type: 'TOLERANCE', config: tolerance },
      { type: 'DATE_LAG', config: { maxDays: 30 } },
    );
    const started = performance.now();
    const output = matchOneToOne({ left, right, rules: definition, onProgress: (progress) => reports.push(progress) });
    expect(reports.length).toBeLessThanOrEqual((performance.now() - started) / 250);
    for (const [i, report] of reports.entries()) {
      expect(report.pairs).toBeGreaterThanOrEqual(reports[i - 1]?.pairs ?? 0);
      expect(report.pairs).toBeLessThanOrEqual(output.pairs.size);
    }
  });

  test('does not change what it was given', () => {
    const [left, right] = [many('L', 50, 5, 5), many('R', 50, 5, 5)];
    const before = structuredClone({ left, right });
    run(left, right, rules({ type: 'TOLERANCE', config: tolerance }));
    expect({ left, right }).toEqual(before);
  });
});
