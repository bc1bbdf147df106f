import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Sample } from '../../../workers/local/samples/sample.ts';
import { writeSamples } from '../../../workers/local/samples/write-samples.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'samples-'));
});

afterEach(() => rm(folder, { recursive: true }));

async function contents(samples: Sample[]): Promise<string[]> {
  const files = samples.flatMap((sample) => [sample.contextFile, sample.dataFiles.left, sample.dataFiles.right]);
  return Promise.all(files.map((file) => readFile(file, 'utf8')));
}

describe('the files of the samples', () => {
  test('are the same, byte for byte, for the same seed and size, and so is what is known about them', async () => {
    const first = await writeSamples(path.join(folder, 'first'), { seed: 5, records: 1000 });
    const second = await writeSamples(path.join(folder, 'second'), { seed: 5, records: 1000 });
    expect(await contents(second)).toEqual(await contents(first));
    expect(second.map(({ truth }) => truth)).toEqual(first.map(({ truth }) => truth));
  });

  test('are others for another seed', async () => {
    const first = await writeSamples(path.join(folder, 'first'), { seed: 5, records: 200 });
    const second = await writeSamples(path.join(folder, 'second'), { seed: 6, records: 200 });
    const [firstFiles, secondFiles] = [await contents(first), await contents(second)];
    for (const index of [1, 2, 4, 5]) expect(secondFiles[index]).not.toBe(firstFiles[index]);
  });

  test('have ten thousand records a side unless told otherwise', async () => {
    for (const { truth } of await writeSamples(folder)) {
      expect(truth.recordsRead).toEqual({ left: 10_000, right: 10_000 });
    }
  });

  test('are named by their context file, which lies beside them', async () => {
    for (const sample of await writeSamples(folder, { records: 100 })) {
      const context = parse(await readFile(sample.contextFile, 'utf8'));
      expect(context.name).toBe(sample.name);
      const [left, right] = context.sources;
      expect([left.side, right.side]).toEqual(['LEFT', 'RIGHT']);
      expect(path.resolve(path.dirname(sample.contextFile), left.files[0])).toBe(sample.dataFiles.left);
      expect(path.resolve(path.dirname(sample.contextFile), right.files[0])).toBe(sample.dataFiles.right);
      expect(context.rules.map((rule: { name: string }) => rule.name)).toEqual(Object.keys(sample.truth.matchedByRule));
    }
  });

  test('are refused with fewer than a hundred records and with a seed that is not an integer', async () => {
    await expect(writeSamples(folder, { records: 99 })).rejects.toThrow('100 to 5000000 records on each side, not 99');
    await expect(writeSamples(folder, { seed: 0.5 })).rejects.toThrow('The seed must be an integer, not 0.5.');
  });
});
