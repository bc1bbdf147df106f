import { leavesSessionAlone } from '@matcher/shared/postgres/session-state.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

describe('statements after which no reset is needed', () => {
  test.each([
    'select 1',
    'SELECT id, type FROM jobs WHERE id = $1',
    `  WITH open AS (SELECT id FROM exceptions) SELECT count(*) FROM open`,
    `INSERT INTO jobs AS job (id, lease_until) VALUES ($1, now() + make_interval(secs => $2))
       ON CONFLICT (id) DO UPDATE SET attempt = job.attempt + 1 RETURNING attempt`,
    'UPDATE jobs SET lease_until = now() WHERE id = $1 RETURNING 1',
    'DELETE FROM outbox WHERE position = ANY($1)',
    'VALUES (1), (2)',
    'SELECT greatest(0, extract(epoch FROM lease_until - now()))::float AS left FROM jobs',
  ])('%s', (sql) => expect(leavesSessionAlone(sql)).toBe(true));
});

describe('statements that leave something, or may', () => {
  test.each([
    'SET search_path TO other',
    'set local search_path to other',
    `SELECT set_config('search_path', 'other', false)`,
    `SELECT pg_catalog . set_config('search_path', 'other', false)`,
    `SELECT "set_config"('search_path', 'other', false)`,
    `SELECT U&"s\\0065t_config"('search_path', 'other', false)`,
    `SELECT set_config/**/('search_path', 'other', false)`,
    `SELECT SET_CONFIG\n('search_path', 'other', false)`,
    `INSERT INTO t VALUES (set_config('search_path', 'other', false))`,
    `WITH x AS (SELECT set_config('search_path', 'other', false)) SELECT count(*) FROM x`,
    'SELECT pg_advisory_lock(1)',
    'SELECT pg_try_advisory_lock_shared(1)',
    'SELECT what_it_does_nobody_knows()',
    'SELECT other.count(1)',
    'SELECT 1; SET search_path TO other',
    'SELECT 1 AS a INTO TEMP t',
    'SELECT 1 AS a INTO pg_temp.t',
    'CREATE TEMPORARY TABLE t ()',
    'SET ROLE other',
    'SET SESSION AUTHORIZATION other',
    'RESET ALL',
    'LISTEN news',
    'PREPARE p AS SELECT 1',
    'DECLARE c CURSOR WITH HOLD FOR SELECT 1',
    'BEGIN',
    'DO $$ BEGIN PERFORM 1; END $$',
    'CALL p()',
    `/* SELECT */ SET ROLE other`,
    `COPY t FROM STDIN`,
    '',
  ])('%s', (sql) => expect(leavesSessionAlone(sql)).toBe(false));

  test('a call of a session’s function is found, wherever it stands and however it is written', () => {
    const name = fc.constantFrom(
      'set_config',
      'pg_advisory_lock',
      'pg_catalog.set_config',
      'SET_CONFIG',
      '"set_config"',
    );
    const blank = fc.constantFrom('', ' ', '\n', '\t', '/**/');
    const around = fc.constantFrom(
      ['SELECT ', ''],
      ['SELECT 1 FROM t WHERE a = ', ' ORDER BY b'],
      ['INSERT INTO t (a) SELECT ', ' RETURNING a'],
      ['UPDATE t SET a = coalesce(b, ', ')'],
      ['WITH x AS MATERIALIZED (SELECT ', ') SELECT * FROM x'],
      ["SELECT ' into t (', ", ''],
      ['DELETE FROM t USING ', ' f WHERE t.a = f.f'],
    );
    fc.assert(
      fc.property(name, blank, around, (call, space, [before, after]) => {
        expect(leavesSessionAlone(`${before}${call}${space}('a', 'b', false)${after}`)).toBe(false);
      }),
    );
  });
});
