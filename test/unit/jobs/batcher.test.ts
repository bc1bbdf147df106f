import { Batcher } from '@matcher/shared/jobs/batcher.ts';
import { expect, test } from 'vitest';

/** What began in this turn of the event loop has come as far as it can. */
const settled = async () => {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
};

/** Answers with the tenfold when it is let, in the order of the questions. */
function tenfold() {
  const batches: number[][] = [];
  const gates: (() => void)[] = [];
  const batcher = new Batcher<number, number>(async (inputs) => {
    batches.push([...inputs]);
    await new Promise<void>((go) => gates.push(go));
    return inputs.map((n) => n * 10);
  });
  return { batches, gates, batcher };
}

test('what is asked while others are answered is answered together, each with its own answer', async () => {
  const { batches, gates, batcher } = tenfold();
  const answers: Promise<number>[] = [];
  for (const n of [1, 2, 3, 4, 5]) {
    answers.push(batcher.ask(n));
    await settled();
  }
  expect(batches).toEqual([[1], [2]]);
  gates.shift()?.();
  await settled();
  expect(batches).toEqual([[1], [2], [3, 4, 5]]);
  for (const go of gates) go();
  expect(await Promise.all(answers)).toEqual([10, 20, 30, 40, 50]);
});

test('what is asked in the same turn is answered together, and a hundred at most', async () => {
  const { batches, gates, batcher } = tenfold();
  const answers = Promise.all([1, 2, 3].map((n) => Promise.resolve().then(() => batcher.ask(n))));
  await settled();
  expect(batches).toEqual([[1, 2, 3]]);
  gates.shift()?.();
  expect(await answers).toEqual([10, 20, 30]);
  const many = Promise.all(Array.from({ length: 150 }, (_, n) => batcher.ask(n)));
  await settled();
  expect(batches.slice(1).map(({ length }) => length)).toEqual([100, 50]);
  for (const go of gates) go();
  expect(await many).toHaveLength(150);
});

test.each([
  ['one of the questions is at fault: the others are answered', '22P02', ['fulfilled', 'rejected', 'fulfilled'], 4],
  ['the server is away: none is asked again', 'ECONNREFUSED', ['rejected', 'rejected', 'rejected'], 1],
])('a batch fails, %s', async (_what, code, states, calls) => {
  let asked = 0;
  const busy = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const batcher = new Batcher<number, number>(async (inputs) => {
    const first = busy[-(inputs[0] as number) - 1];
    if (first) await first.promise;
    else asked++;
    if (inputs.includes(2) || (code === 'ECONNREFUSED' && !first)) throw Object.assign(new Error('no'), { code });
    return inputs;
  });
  const held: Promise<number>[] = [];
  for (const first of [-1, -2]) {
    held.push(batcher.ask(first));
    await settled();
  }
  const all = Promise.allSettled([1, 2, 3].map((n) => batcher.ask(n)));
  busy[0]?.resolve();
  expect((await all).map(({ status }) => status)).toEqual(states);
  expect(asked).toBe(calls);
  busy[1]?.resolve();
  await Promise.all(held);
});
