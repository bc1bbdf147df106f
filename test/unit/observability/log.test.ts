import { MatcherError } from '@matcher/shared/errors.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { DatabaseError } from 'pg';
import { expect, test } from 'vitest';

const secret = 's3cr3t-value';

function logged(write: (log: ReturnType<typeof createLog>) => void, level = 'info') {
  const lines: string[] = [];
  write(createLog({ ENV_NAME: 'test', LOG_LEVEL: level }, 'ingest', { write: (line) => void lines.push(line) }));
  return lines.map((line) => JSON.parse(line));
}

test('a line says when, how severe, which process and deployment, and the fields of its child loggers', () => {
  const [line] = logged((log) => log.child({ tenantId: 't1', jobId: 'j1' }).info({ attempt: 2 }, 'done'));
  expect(line).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    pid: process.pid,
    env: 'test',
    name: 'ingest',
    tenantId: 't1',
    jobId: 'j1',
    attempt: 2,
    msg: 'done',
  });
});

test('what is less severe than LOG_LEVEL is not written', () => {
  expect(logged((log) => log.info('quiet'), 'warn')).toEqual([]);
});

test.each([
  'password',
  'passwordHash',
  'secret',
  'clientSecret',
  'secretAccessKey',
  'apiKey',
  'x-api-key',
  'token',
  'access_token',
  'authorization',
  'url',
  'POSTGRES_PASSWORD',
  'MULTI_TENANT_SERVICE_API_KEY',
  'OBJECT_STORAGE_SECRET_ACCESS_KEY',
])('the value of %s does not reach the log, on no level', (name) => {
  const lines = logged((log) => {
    log.info({ [name]: secret }, 'at the top');
    log.info({ target: { [name]: secret } }, 'one deep');
    log.info({ tenant: { target: { [name]: secret } } }, 'two deep');
    log.child({ [name]: secret }).info('of a child');
  });
  expect(lines).toHaveLength(4);
  expect(JSON.stringify(lines)).not.toContain(secret);
  expect(lines[0][name]).toBe('[redacted]');
});

test('an error is written with its class, code, message, place and cause', () => {
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  const [line] = logged((log) =>
    log.warn({ err: new MatcherError('DATABASE_UNAVAILABLE', 'It is away', { cause }) }, 'failed'),
  );
  expect(line.err).toEqual({
    type: 'MatcherError',
    code: 'DATABASE_UNAVAILABLE',
    message: 'It is away',
    stack: expect.stringContaining('log.test.ts'),
    cause: { type: 'Error', code: 'ECONNREFUSED', message: 'connect ECONNREFUSED', stack: expect.any(String) },
  });
});

test('a driver’s error is written without the row and the parameters that hang on it', () => {
  const error = Object.assign(
    new DatabaseError('duplicate key value violates unique constraint "jobs_pkey"', 0, 'error'),
    {
      code: '23505',
      detail: `Key (iban)=(${secret}) already exists.`,
      where: `COPY transactions, line 1: "${secret}"`,
      parameters: [secret],
      connectionString: `postgres://matcher:${secret}@db`,
    },
  );
  const lines = logged((log) => {
    log.error({ err: error }, 'failed');
    log.error(error);
    log.error({ err: new Error('outer', { cause: error }) }, 'failed');
  });
  expect(lines.map(({ err }) => err.code ?? err.cause.code)).toEqual(['23505', '23505', '23505']);
  expect(JSON.stringify(lines)).not.toContain(secret);
});

test('what is thrown and is no error, and causes that go round in a circle, end no process', () => {
  const one = new Error('one');
  const other = new Error('other', { cause: one });
  one.cause = other;
  const lines = logged((log) => {
    log.error({ err: 'just a text' }, 'failed');
    log.error({ err: one }, 'failed');
  });
  expect(lines[0].err).toBe('just a text');
  expect(lines[1].err).toMatchObject({ message: 'one', cause: { message: 'other' } });
});
