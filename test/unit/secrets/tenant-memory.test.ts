import { TenantMemory } from '@matcher/shared/secrets/tenant-memory.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { beforeEach, expect, test } from 'vitest';

const acme = canonicalTenantId('acme');
const blue = canonicalTenantId('blue');
const lasting = new Error('there is no such secret');

let now: number;
let memory: TenantMemory<string>;
let loads: PromiseWithResolvers<string>[];

/** A loading that the test ends; what it brings is remembered for a second. */
const load = () => {
  const one = Promise.withResolvers<string>();
  loads.push(one);
  return one.promise.then((value) => ({ value, until: now + 1000 }));
};

beforeEach(() => {
  now = 0;
  loads = [];
  memory = new TenantMemory({ now: () => now, keepFailure: (error) => (error === lasting ? 100 : 0) });
});

async function filled(value: string) {
  const got = memory.get(acme, load);
  loads.at(-1)?.resolve(value);
  await got;
}

test('fifty callers at once are one loading, and tenants have each their own', async () => {
  const callers = Array.from({ length: 50 }, () => memory.get(acme, load));
  const other = memory.get(blue, load);
  expect(loads).toHaveLength(2);
  loads[0]?.resolve('of acme');
  loads[1]?.resolve('of blue');
  expect(new Set(await Promise.all(callers))).toEqual(new Set(['of acme']));
  expect(await other).toBe('of blue');
});

test('a value is remembered until it ends, and not a moment longer', async () => {
  await filled('first');
  now = 999;
  expect(await memory.get(acme, load)).toBe('first');
  now = 1000;
  const next = memory.get(acme, load);
  expect(loads).toHaveLength(2);
  loads[1]?.resolve('second');
  expect(await next).toBe('second');
});

test('a caller’s cancellation fails that caller alone, and the loading goes on for the others', async () => {
  const controller = new AbortController();
  const patient = memory.get(acme, load);
  const impatient = memory.get(acme, load, controller.signal);
  controller.abort(new Error('the job was cancelled'));
  await expect(impatient).rejects.toThrow('the job was cancelled');
  loads[0]?.resolve('value');
  expect(await patient).toBe('value');
  expect(loads).toHaveLength(1);
});

test('when all callers gave up, the next one has what was loaded, and a failure is nobody’s unhandled rejection', async () => {
  const abort = AbortSignal.abort(new Error('cancelled'));
  await expect(memory.get(acme, load, abort)).rejects.toThrow('cancelled');
  expect(loads).toHaveLength(0);

  const controller = new AbortController();
  const impatient = memory.get(acme, load, controller.signal);
  controller.abort(new Error('cancelled'));
  await expect(impatient).rejects.toThrow('cancelled');
  loads[0]?.reject(new Error('network'));
  await new Promise(setImmediate);
  await filled('value');
  expect(await memory.get(acme, load)).toBe('value');
});

test('a failure of the moment is not remembered (a shared failure is not cached)', async () => {
  const callers = [memory.get(acme, load), memory.get(acme, load)];
  loads[0]?.reject(new Error('network'));
  for (const caller of callers) await expect(caller).rejects.toThrow('network');
  const next = memory.get(acme, load);
  expect(loads).toHaveLength(2);
  loads[1]?.resolve('value');
  expect(await next).toBe('value');
});

test('a lasting failure is the answer for a short while, for a renewal too', async () => {
  const first = memory.get(acme, load);
  loads[0]?.reject(lasting);
  await expect(first).rejects.toBe(lasting);
  now = 99;
  await expect(memory.get(acme, load)).rejects.toBe(lasting);
  await expect(memory.renew(acme, () => true, load)).rejects.toBe(lasting);
  now = 100;
  await filled('value');
  expect(await memory.get(acme, load)).toBe('value');
});

test('renewals of one wrong value are one loading, which whoever asks meanwhile waits for', async () => {
  await filled('wrong');
  const isWrong = (value: string) => value === 'wrong';
  const callers = Array.from({ length: 50 }, () => memory.renew(acme, isWrong, load));
  callers.push(memory.get(acme, load));
  expect(loads).toHaveLength(2);
  loads[1]?.resolve('right');
  expect(new Set(await Promise.all(callers))).toEqual(new Set(['right']));
  // A late one, refused with the wrong value too.
  expect(await memory.renew(acme, isWrong, load)).toBe('right');
  expect(loads).toHaveLength(2);
});

test('a loading that began before the renewal is not waited for and does not overwrite what the renewal brought', async () => {
  const early = memory.get(acme, load);
  const renewed = memory.renew(acme, () => true, load);
  expect(loads).toHaveLength(2);
  loads[1]?.resolve('right');
  expect(await renewed).toBe('right');
  loads[0]?.resolve('wrong');
  expect(await early).toBe('wrong');
  expect(await memory.get(acme, load)).toBe('right');
});
