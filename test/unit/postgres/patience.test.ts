import { Patience } from '@matcher/shared/postgres/patience.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** Begins a wait, and says how long (ms) it took until it was given up. */
function begin(patience: Patience, gaveUp: Map<string, number>, name: string) {
  const begun = performance.now();
  return patience.begin(() => gaveUp.set(name, performance.now() - begun));
}

test('each is given up after the same time, whenever it began', () => {
  const patience = new Patience(1000);
  const gaveUp = new Map<string, number>();
  begin(patience, gaveUp, 'first');
  vi.advanceTimersByTime(300);
  begin(patience, gaveUp, 'second');
  vi.advanceTimersByTime(699);
  expect(gaveUp).toEqual(new Map());
  vi.advanceTimersByTime(1000);
  begin(patience, gaveUp, 'third');
  vi.advanceTimersByTime(1000);
  expect(gaveUp).toEqual(
    new Map([
      ['first', 1000],
      ['second', 1000],
      ['third', 1000],
    ]),
  );
});

test('what has ended in time is not given up, and what was given up can’t end any more', () => {
  const patience = new Patience(1000);
  const gaveUp = new Map<string, number>();
  const ended = begin(patience, gaveUp, 'ended');
  const late = begin(patience, gaveUp, 'late');
  expect(patience.end(ended)).toBe(true);
  vi.advanceTimersByTime(1000);
  expect(patience.end(late)).toBe(false);
  expect([...gaveUp.keys()]).toEqual(['late']);
});

test('one timer watches many, and none stays when nothing is waited for', () => {
  const patience = new Patience(1000);
  const waits = Array.from({ length: 100 }, () => patience.begin(() => {}));
  expect(vi.getTimerCount()).toBe(1);
  for (const wait of waits) patience.end(wait);
  vi.advanceTimersByTime(1000);
  expect(vi.getTimerCount()).toBe(0);
});

test.each([0, 2 ** 40])('a limit of %d is not one of nothing', (limit) => {
  const patience = new Patience(limit);
  const wait = patience.begin(() => {});
  vi.advanceTimersByTime(24 * 3600 * 1000);
  expect(patience.end(wait)).toBe(true);
});
