import { Batcher } from '@matcher/shared/jobs/batcher.ts';
import { expect, test } from 'vitest';

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test('what is asked while others are answered is answered together, each with its own answer', async () => {
  const batches: number[][] = [];
  const gates: (() => void)[] = [];
  const batcher = new Batcher<number, number>(async (inputs) => {
    batches.push([...inputs]);
    await new Promise<void>((go) => gates.push(go));
    return inputs.map((n) => n * 10);
  });
  const answers = Promise.all([1, 2, 3, 4, 5].map((n) => batcher.ask(n)));
  expect(batches).toEqual([[1], [2]]);
  gates.shift()?.();
  await settled();
  expect(batches).toEqual([[1], [2], [3, 4, 5]]);
  for (const go of gates) go();
  expect(await answers).toEqual([10, 20, 30, 40, 50]);
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
  const held = [batcher.ask(-1), batcher.ask(-2)];
  const all = Promise.allSettled([1, 2, 3].map((n) => batcher.ask(n)));
  busy[0]?.resolve();
  expect((await all).map(({ status }) => status)).toEqual(states);
  expect(asked).toBe(calls);
  busy[1]?.resolve();
  await Promise.all(held);
});
