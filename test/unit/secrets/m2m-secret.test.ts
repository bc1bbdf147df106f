import type { MatcherError } from '@matcher/shared/errors.ts';
import { parseM2MSecret } from '@matcher/shared/secrets/m2m-secret.ts';
import { expect, test } from 'vitest';

const name = 'tenants/staging/acme/matcher/m2m/fetcher/credentials';
const parse = (value: unknown, allowInsecureHttp = false) =>
  parseM2MSecret(typeof value === 'string' ? value : JSON.stringify(value), name, allowInsecureHttp);

function failure(value: unknown): MatcherError {
  try {
    parse(value);
  } catch (error) {
    return error as MatcherError;
  }
  throw new Error('the secret was accepted');
}

const good = { clientId: 'matcher-acme', clientSecret: ' s3cr3t-value ' };

test('the client is read, unknown fields are ignored, and the client’s secret is taken as it is', () => {
  expect(parse({ ...good, rotatedAt: '2026-01-01', nested: { a: 1 } })).toEqual({ ...good, targetBaseUrl: undefined });
});

test.each([undefined, null, '', '  '])('targetBaseUrl may be %j', (targetBaseUrl) => {
  expect(parse({ ...good, targetBaseUrl })).toEqual({ ...good, targetBaseUrl: undefined });
});

test('targetBaseUrl has no slash at its end', () => {
  expect(parse({ ...good, targetBaseUrl: ' https://fetcher.example.com/acme// ' }).targetBaseUrl).toBe(
    'https://fetcher.example.com/acme',
  );
});

test.each([
  ['M2M_SECRET_MALFORMED', 's3cr3t-value, not JSON'],
  ['M2M_SECRET_MALFORMED', ''],
  ['M2M_SECRET_MALFORMED', '"s3cr3t-value"'],
  ['M2M_SECRET_MALFORMED', '["s3cr3t-value"]'],
  ['M2M_SECRET_MALFORMED', 'null'],
  ['M2M_SECRET_MALFORMED', { ...good, targetBaseUrl: 7 }],
  ['M2M_CLIENT_ID_MISSING', { clientSecret: 's3cr3t-value' }],
  ['M2M_CLIENT_ID_MISSING', { ...good, clientId: ' ' }],
  ['M2M_CLIENT_ID_MISSING', { ...good, clientId: 7 }],
  ['M2M_CLIENT_SECRET_MISSING', { clientId: 'matcher-acme' }],
  ['M2M_CLIENT_SECRET_MISSING', { ...good, clientSecret: '' }],
  ['M2M_CLIENT_SECRET_MISSING', { ...good, clientSecret: ['s3cr3t-value'] }],
  ['M2M_TARGET_URL_INVALID', { ...good, targetBaseUrl: 'fetcher' }],
  ['M2M_TARGET_URL_INVALID', { ...good, targetBaseUrl: 'ftp://fetcher' }],
  ['M2M_TARGET_URL_INVALID', { ...good, targetBaseUrl: 'http://fetcher.example.com' }],
  ['M2M_TARGET_URL_INVALID', { ...good, targetBaseUrl: 'https://u:s3cr3t-value@fetcher.example.com' }],
  ['M2M_TARGET_URL_INVALID', { ...good, targetBaseUrl: 'https://fetcher.example.com?key=s3cr3t-value' }],
])('%s: %j, and neither the value nor the path is shown', (code, value) => {
  const error = failure(value);
  expect(error.code).toBe(code);
  expect(error.message).toMatch(/^The secret "credentials" \(path [0-9a-f]{8}\) \w/);
  expect(error.cause).toBeUndefined();
  expect(`${error.message} ${error.hint} ${error.stack}`).not.toMatch(/s3cr3t-value|staging|acme/);
});

test.each([
  ['http://127.0.0.1:4006', false],
  ['http://localhost:4006', false],
  ['http://fetcher.internal', true],
])('plain http to %s is accepted on this machine or when it was asked for', (targetBaseUrl, allowed) => {
  expect(parse({ ...good, targetBaseUrl }, allowed).targetBaseUrl).toBe(targetBaseUrl);
});
