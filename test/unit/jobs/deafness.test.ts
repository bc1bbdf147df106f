import { DeafnessWatch, type QueueLook } from '@matcher/shared/jobs/deafness.ts';
import { beforeEach, describe, expect, test } from 'vitest';

let watch: DeafnessWatch;
beforeEach(() => {
  watch = new DeafnessWatch();
});

const look = (fields: Partial<QueueLook> = {}): QueueLook => ({
  type: 'matching.run',
  ready: 3,
  delivered: 7,
  hasRoom: true,
  ...fields,
});
/** What each of some looks in a row leads to. */
const judged = (...looks: Partial<QueueLook>[]) => looks.map((fields) => watch.judge([look(fields)]));

test('a backlog and no delivery between two looks: the channel is renewed, then the connection, then the process', () => {
  expect(judged({}, {}, {}, {}, {})).toEqual([undefined, 'channel', 'connection', 'process', 'process']);
});

describe('a consumer that is well is left alone', () => {
  test.each<[string, Partial<QueueLook>[]]>([
    ['nothing waits', [{ ready: 0 }, { ready: 0 }, { ready: 0 }]],
    ['deliveries come in, however much waits', [{ delivered: 7 }, { delivered: 8 }, { delivered: 9 }]],
    ['it holds as much as it may: the slots are busy', [{ hasRoom: false }, { hasRoom: false }, { hasRoom: false }]],
    ['it had no room at the look before', [{ hasRoom: false }, {}]],
    ['something waits that came just now', [{ ready: 0 }, {}]],
    ['others have taken what waited', [{}, { ready: 0 }, {}]],
  ])('%s', (_why, looks) => {
    expect(judged(...looks)).toEqual(looks.map(() => undefined));
  });
});

test('what has helped begins anew with the mildest remedy the next time', () => {
  expect(judged({}, {}, { delivered: 8 }, { delivered: 8 }, { delivered: 8 })).toEqual([
    undefined,
    'channel',
    undefined,
    'channel',
    'connection',
  ]);
});

test('one deaf queue among busy ones is found', () => {
  const round = (delivered: number) => watch.judge([look({ delivered }), look({ type: 'export.run' })]);
  expect([round(1), round(2)]).toEqual([undefined, 'channel']);
});

test('a broker that does not answer costs the connection at the second time, and never the process', () => {
  expect([1, 2, 3, 4].map(() => watch.unanswered())).toEqual([undefined, 'connection', undefined, 'connection']);
  watch.unanswered();
  watch.judge([look({ ready: 0 })]);
  expect(watch.unanswered()).toBe(undefined);
});
