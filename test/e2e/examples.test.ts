import { resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { downloadReport } from '../../workers/local/demo/check.ts';
import { matcher, type Reconciled } from '../../workers/local/demo/command-line.ts';
import { bankExampleTruth, cardExampleTruth, type ExampleTruth, hasExamples } from '../support/example-truth.ts';
import { startFleet, type TestFleet } from '../support/fleet.ts';

describe.skipIf(!hasExamples())('the example contexts, from their files to their exports', () => {
  let fleet: TestFleet;

  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet?.close());

  /** Takes a context file through the command line, as a user does, and gives what its exports say. */
  async function reconcile(
    contextFile: string,
  ): Promise<{ pairs: Set<string>; open: Set<string>; result: Reconciled }> {
    const tenant = await fleet.tenant();
    const file = resolve(import.meta.dirname, 'examples', contextFile);
    const args = ['reconcile', file, '--tenant', tenant.id];
    const result = await matcher<Reconciled>(args, fleet.environment, AbortSignal.timeout(120_000));
    const matched = await downloadReport(result, 'MATCHED');
    const unmatched = await downloadReport(result, 'UNMATCHED');
    return {
      pairs: new Set(matched.map((row) => `${row.left_external_id} = ${row.right_external_id}`)),
      open: new Set(unmatched.map((row) => `${row.side} ${row.external_id}`)),
      result,
    };
  }

  async function holds(truth: ExampleTruth, contextFile: string): Promise<Reconciled> {
    const { pairs, open, result } = await reconcile(contextFile);
    expect(pairs).toEqual(new Set(truth.pairs.map(({ left, right }) => `${left} = ${right}`)));
    expect(open).toEqual(
      new Set([...truth.open.left.map((id) => `LEFT ${id}`), ...truth.open.right.map((id) => `RIGHT ${id}`)]),
    );
    return result;
  }

  test('01, card acquirer: what must match does, with its right partner, and what must stay open does', async () => {
    const truth = await cardExampleTruth();
    const result = await holds(truth, 'context-01.yaml');
    expect(result).toMatchObject({ left: 1000, right: 1000, open: { left: 215, right: 215 } });
    expect(Object.values(result.matched).reduce((sum, n) => sum + n, 0)).toBe(785);
  });

  test('02, bank statement: what must match does, with its right partner, and what must stay open does', async () => {
    const truth = await bankExampleTruth();
    const result = await holds(truth, 'context-02.yaml');
    expect(result).toMatchObject({ left: 1000, right: 1000, open: { left: 250, right: 250 } });
    expect(Object.values(result.matched).reduce((sum, n) => sum + n, 0)).toBe(750);
  });

  test('where a label and the data disagree, the data decides, and each such record is named with the reason', async () => {
    for (const { disagreements } of [await cardExampleTruth(), await bankExampleTruth()]) {
      expect(disagreements.length).toBeGreaterThan(0);
      for (const { externalId, scenario, reason } of disagreements) {
        expect(externalId).not.toBe('');
        expect(scenario).not.toBe('');
        expect(reason).not.toBe('');
      }
    }
  });
});
