import type { M2MCredentialSource } from '@matcher/shared/secrets/m2m-credentials.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { keyOf, type M2MFixture, nameOf, startM2M } from '../support/m2m.ts';

let m2m: M2MFixture;
let acme: TenantId;

beforeEach(async () => {
  m2m = await startM2M();
  acme = newTenantId();
});
afterEach(() => m2m.close());

describe('what is wrong has an error of its own:', () => {
  let credentials: M2MCredentialSource;
  beforeEach(() => {
    credentials = m2m.startProcess().credentials;
    m2m.secretTexts.push(nameOf(acme), 's3cr3t-value');
  });

  test.each<[string, () => void, string, string]>([
    ['no secret', () => {}, 'M2M_SECRET_NOT_FOUND', 'permanent'],
    ['no JSON', () => m2m.aws.put(nameOf(acme), '{"clientSecret": s3cr3t-value'), 'M2M_SECRET_MALFORMED', 'permanent'],
    ['a binary secret', () => m2m.aws.put(nameOf(acme), Buffer.from('s3cr3t-value')), 'M2M_SECRET_BINARY', 'permanent'],
    [
      'no clientId',
      () => m2m.aws.put(nameOf(acme), '{"clientSecret":"s3cr3t-value"}'),
      'M2M_CLIENT_ID_MISSING',
      'permanent',
    ],
    [
      'no clientSecret',
      () => m2m.aws.put(nameOf(acme), '{"clientId":"s3cr3t-value"}'),
      'M2M_CLIENT_SECRET_MISSING',
      'permanent',
    ],
    ['no permission', denyAcme, 'M2M_SECRET_ACCESS_DENIED', 'not-now'],
    [
      'no permission for the key',
      () => m2m.aws.failNext(1, 'DecryptionFailure'),
      'M2M_SECRET_ACCESS_DENIED',
      'not-now',
    ],
  ])(
    '%s; it is the answer for five seconds, and then the secret is read again',
    async (_what, arrange, code, remedy) => {
      arrange();
      const error = await m2m.failure(credentials.get(acme));
      expect(error).toMatchObject({ code, remedy });
      expect(error.message).toMatch(/"credentials" \(path [0-9a-f]{8}\)/);

      m2m.rotate(acme);
      m2m.now = 4999;
      expect(await m2m.failure(credentials.get(acme))).toMatchObject({ code });
      expect(m2m.aws.asked).toHaveLength(1);
      m2m.now = 5000;
      expect((await credentials.get(acme)).clientId).toBe(`client-of-${acme}`);
      expect(await m2m.redis.exists(keyOf(acme))).toBe(1);
    },
  );

  function denyAcme(): void {
    m2m.aws.put(nameOf(acme), '{}');
    m2m.aws.deny(nameOf(acme));
  }

  test('nothing that failed is kept in Redis', async () => {
    await m2m.failure(credentials.get(acme));
    expect(await m2m.redis.exists(keyOf(acme))).toBe(0);
  });

  test('throttling and a failing service, when they do not pass within three attempts, and then the next caller asks', async () => {
    m2m.rotate(acme);
    m2m.aws.failNext(3, 'ThrottlingException');
    const callers = Array.from({ length: 50 }, () => m2m.failure(credentials.get(acme)));
    for (const caller of callers) {
      expect(await caller).toMatchObject({ code: 'M2M_SECRETS_THROTTLED', remedy: 'not-now' });
    }
    expect(m2m.aws.asked).toHaveLength(3);
    m2m.aws.failNext(3, 'InternalServiceError');
    expect(await m2m.failure(credentials.get(acme))).toMatchObject({
      code: 'M2M_SECRETS_UNAVAILABLE',
      remedy: 'not-now',
    });
    expect(m2m.aws.asked).toHaveLength(6);
    await credentials.get(acme);
  });

  test('throttling that passes is no error', async () => {
    m2m.rotate(acme);
    m2m.aws.failNext(2, 'ThrottlingException');
    await credentials.get(acme);
    expect(m2m.aws.asked).toHaveLength(3);
  });

  test('a black hole, attempt by attempt and as a whole', async () => {
    m2m.rotate(acme);
    const release = m2m.aws.hold();
    const away = { code: 'M2M_SECRETS_UNAVAILABLE', remedy: 'not-now' };
    const impatient = m2m.startProcess({ secrets: m2m.reader({ attemptTimeoutMs: 50 }) });
    expect(await m2m.failure(impatient.credentials.get(acme))).toMatchObject(away);
    const limited = m2m.startProcess({ secrets: m2m.reader({ readTimeoutMs: 100 }) });
    expect(await m2m.failure(limited.credentials.get(acme))).toMatchObject(away);
    release();
  });

  test('nobody there', async () => {
    m2m.settings = m2m.settingsWith({ AWS_ENDPOINT_URL_SECRETS_MANAGER: 'http://127.0.0.1:1' });
    const error = await m2m.failure(m2m.startProcess().credentials.get(acme));
    expect(error).toMatchObject({ code: 'M2M_SECRETS_UNAVAILABLE', remedy: 'not-now' });
    expect(error.message).toContain('ECONNREFUSED');
  });

  test.each([
    ['AWS_SECRET_ACCESS_KEY', 'a guessed key'],
    ['AWS_ACCESS_KEY_ID', 'AKIAGUESSED'],
  ])('a process that AWS does not let in, by its %s', async (name, value) => {
    m2m.rotate(acme);
    process.env[name] = value;
    expect(await m2m.failure(m2m.startProcess().credentials.get(acme))).toMatchObject({
      code: 'M2M_SECRET_ACCESS_DENIED',
    });
    expect(m2m.aws.asked).toEqual([]);
  });

  test('a region that is not the service’s', async () => {
    m2m.settings = m2m.settingsWith({ AWS_REGION: 'us-west-2' });
    expect(await m2m.failure(m2m.startProcess().credentials.get(acme))).toMatchObject({
      code: 'M2M_SECRET_ACCESS_DENIED',
    });
  });
});
