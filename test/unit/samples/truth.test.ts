import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sample } from '../../../workers/local/samples/sample.ts';
import { writeSamples } from '../../../workers/local/samples/write-samples.ts';
import { goodRecords, matchNaively, NAIVE_RULES, type NaiveRecord } from './naive-matching.ts';

describe.each(['card-settlement', 'bank-statement'])('what the %s sample claims to know', (name) => {
  describe.each([1, 2, 77])('with seed %i', (seed) => {
    const rules = NAIVE_RULES[name] ?? [];
    let folder: string;
    let sample: Sample;
    let left: Map<string, NaiveRecord>;
    let right: Map<string, NaiveRecord>;

    beforeAll(async () => {
      folder = await mkdtemp(path.join(tmpdir(), 'samples-'));
      const samples = await writeSamples(folder, { seed, records: 400 });
      const found = samples.find((one) => one.name === name);
      if (found === undefined) throw new Error(`There is no sample ${name}.`);
      sample = found;
      left = new Map((await goodRecords(sample, 'LEFT')).map((record) => [record.id, record]));
      right = new Map((await goodRecords(sample, 'RIGHT')).map((record) => [record.id, record]));
    });

    afterAll(() => rm(folder, { recursive: true }));

    const recordOf = (side: Map<string, NaiveRecord>, id: string) => {
      const record = side.get(id);
      if (record === undefined) throw new Error(`No record has the id ${id}.`);
      return record;
    };

    test('every usable record is in one pair or open, and never both', () => {
      const { pairs, open, bad, recordsRead } = sample.truth;
      const lefts = [...pairs.map((pair) => pair.left), ...open.left];
      const rights = [...pairs.map((pair) => pair.right), ...open.right];
      expect(lefts.toSorted()).toEqual([...left.keys()].sort());
      expect(rights.toSorted()).toEqual([...right.keys()].sort());
      const badOn = (side: string) => bad.filter((record) => record.side === side).length;
      expect(lefts.length + badOn('LEFT')).toBe(recordsRead.left);
      expect(rights.length + badOn('RIGHT')).toBe(recordsRead.right);
    });

    test('every pair satisfies its rule and no earlier one', () => {
      const wrong = sample.truth.pairs.filter((pair) => {
        const first = rules.find((rule) => rule.holds(recordOf(left, pair.left), recordOf(right, pair.right)));
        return first?.name !== pair.rule;
      });
      expect(wrong).toEqual([]);
    });

    test('no two open records satisfy any rule', () => {
      const { open } = sample.truth;
      const overlooked = open.left.flatMap((l) =>
        open.right
          .filter((r) => rules.some((rule) => rule.holds(recordOf(left, l), recordOf(right, r))))
          .map((r) => [l, r]),
      );
      expect(overlooked).toEqual([]);
    });

    test('taking the nearest of all possible pairs first gives exactly these pairs', () => {
      const order = (a: { left: string }, b: { left: string }) => (a.left < b.left ? -1 : 1);
      const found = matchNaively([...left.values()], [...right.values()], rules);
      expect(found.sort(order)).toEqual(sample.truth.pairs.toSorted(order));
    });

    test('the counts are those of the lists, and every rule settles something', () => {
      const { pairs, open, matchedByRule, exceptionsByReason } = sample.truth;
      expect(Object.keys(matchedByRule)).toEqual(rules.map((rule) => rule.name));
      for (const [rule, count] of Object.entries(matchedByRule)) {
        expect(count, rule).toBeGreaterThan(0);
        expect(count, rule).toBe(pairs.filter((pair) => pair.rule === rule).length);
      }
      const exceptions = Object.values(exceptionsByReason).reduce((sum, count) => sum + count, 0);
      expect(exceptions).toBe(open.left.length + open.right.length);
      expect(Object.keys(exceptionsByReason).sort()).toEqual(['DUPLICATE_TRANSACTION', 'FEE_VARIANCE', 'UNMATCHED']);
    });
  });
});
