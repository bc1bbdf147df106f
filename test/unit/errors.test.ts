import { MatcherError, remedyFor } from '@matcher/shared/errors.ts';
import { expect, test } from 'vitest';

const postgres = (code: string) => Object.assign(new Error('FATAL'), { code });

test.each(['28000', '28P01', '3D000', '53300', '57P01', '57P03', '08006', 'ECONNREFUSED', 'ETIMEDOUT'])(
  'a database that lets nobody in for now (%s) charges its jobs no attempt',
  (code) => {
    expect(remedyFor(postgres(code))).toBe('not-now');
  },
);

test.each(['28000', '53300', '57P01', '08006', '3D000'])(
  'a trigger that claims that the database is away (%s) is tried again, and not for ever',
  (code) => {
    const error = { severity: 'ERROR', routine: 'exec_stmt_raise' };
    expect(remedyFor(Object.assign(postgres(code), error))).toBe('transient');
    // On a server that speaks German.
    expect(remedyFor(Object.assign(postgres(code), error, { severity: 'FEHLER' }))).toBe('transient');
    expect(remedyFor(Object.assign(postgres(code), { severity: 'ERROR', routine: 'ProcessInterrupts' }))).toBe(
      'transient',
    );
    for (const severity of ['FATAL', 'PANIC', 'PANIK']) {
      expect(remedyFor(Object.assign(postgres(code), { severity }))).toBe('not-now');
    }
  },
);

test('a lock that is not to be had charges no attempt, unless a trigger only says so', () => {
  const error = Object.assign(postgres('55P03'), { severity: 'ERROR', routine: 'ProcessInterrupts' });
  expect(remedyFor(error)).toBe('not-now');
  expect(remedyFor(Object.assign(error, { routine: 'exec_stmt_raise' }))).toBe('transient');
});

test.each(['22001', '23505', '42601', '42501'])(
  'what will fail the same way every time (%s) is not tried again',
  (code) => {
    expect(remedyFor(postgres(code))).toBe('permanent');
  },
);

test.each(['40001', '40P01', '53100', '57014'])('what may go well the next time (%s) is tried again', (code) => {
  expect(remedyFor(postgres(code))).toBe('transient');
});

test.each([
  'Connection terminated unexpectedly',
  'Client has encountered a connection error and is not queryable',
  'Query read timeout',
  'timeout expired',
  'timeout exceeded when trying to connect',
])('what PostgreSQL’s driver says in words about a server that is away (%s) charges its jobs no attempt', (words) => {
  expect(remedyFor(new Error(words))).toBe('not-now');
  expect(remedyFor(new Error(`the handler said: ${words}`))).toBe('transient');
});

test('our own errors say what is to be done; a bug is not tried again', () => {
  expect(remedyFor(new MatcherError('ANY', 'text', { remedy: 'not-now' }))).toBe('not-now');
  expect(remedyFor(new MatcherError('ANY', 'text'))).toBe('permanent');
  expect(remedyFor(new TypeError('undefined is not a function'))).toBe('permanent');
  expect(remedyFor(new TypeError('fetch failed', { cause: new Error('socket') }))).toBe('transient');
});
