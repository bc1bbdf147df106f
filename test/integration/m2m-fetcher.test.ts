import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { newTenantId } from '../support/databases.ts';
import { startFetcher } from '../support/fetcher.ts';
import { keyOf, type M2MFixture, startM2M } from '../support/m2m.ts';

let m2m: M2MFixture;
let acme: TenantId;
let blue: TenantId;

beforeEach(async () => {
  m2m = await startM2M();
  acme = newTenantId();
  blue = newTenantId();
});
afterEach(() => m2m.close());

describe('the Fetcher', () => {
  test('is called with each tenant’s own token', async () => {
    m2m.rotate(acme);
    m2m.rotate(blue);
    const { client } = m2m.startProcess();
    expect(await client.job(acme, 'j1')).toMatchObject({ client: `client-of-${acme}` });
    expect(await client.job(blue, 'j1')).toMatchObject({ client: `client-of-${blue}` });
    await client.job(acme, 'j2');
    expect(m2m.fetcher.tokenRequests).toEqual([`client-of-${acme}`, `client-of-${blue}`]);
  });

  test('fifty calls at once are one secret read and one token', async () => {
    m2m.rotate(acme);
    const { client } = m2m.startProcess();
    await Promise.all(Array.from({ length: 50 }, (_, index) => client.job(acme, `j${index}`)));
    expect([m2m.aws.asked.length, m2m.fetcher.tokenRequests.length, m2m.fetcher.calls.length]).toEqual([1, 1, 50]);
  });

  test('after a rotation: the 401 clears token, memory and Redis, and the call succeeds with the new client', async () => {
    m2m.rotate(acme);
    const { client, credentials } = m2m.startProcess();
    await client.job(acme, 'j1');
    const before = await m2m.redis.get(keyOf(acme));
    const clientSecret = m2m.rotate(acme);
    m2m.fetcher.revokeTokens();

    expect(await client.startJob(acme, { metadata: {} })).toMatchObject({ jobId: 'job 1/2' });
    expect(m2m.fetcher.calls.map((call) => call.client)).toEqual([`client-of-${acme}`, undefined, `client-of-${acme}`]);
    expect((await credentials.get(acme)).clientSecret).toBe(clientSecret);
    expect(await m2m.redis.get(keyOf(acme))).not.toBe(before);
    // Another process has the new client from Redis.
    expect((await m2m.startProcess().credentials.get(acme)).clientSecret).toBe(clientSecret);
    expect(m2m.aws.asked).toHaveLength(2);
  });

  test('what was refused is gone from Redis before Secrets Manager is asked, whether or not it answers', async () => {
    m2m.rotate(acme);
    const { client } = m2m.startProcess();
    await client.job(acme, 'j1');
    m2m.fetcher.revokeTokens();
    m2m.aws.failNext(3, 'InternalServiceError');
    expect(await m2m.failure(client.job(acme, 'j2'))).toMatchObject({ code: 'M2M_SECRETS_UNAVAILABLE' });
    expect(await m2m.redis.exists(keyOf(acme))).toBe(0);
    expect(await client.job(acme, 'j3')).toMatchObject({ client: `client-of-${acme}` });
  });

  test('fifty calls refused at once cost one secret read and one token, and each is made exactly once more', async () => {
    m2m.rotate(acme);
    const { client } = m2m.startProcess();
    await client.job(acme, 'j1');
    m2m.rotate(acme);
    m2m.fetcher.revokeTokens();
    await Promise.all(Array.from({ length: 50 }, (_, index) => client.job(acme, `j${index}`)));
    expect([m2m.aws.asked.length, m2m.fetcher.tokenRequests.length]).toEqual([2, 2]);
    expect(m2m.fetcher.calls).toHaveLength(1 + 50 + 50);
  });

  test('a second 401 is an error after exactly two calls', async () => {
    m2m.rotate(acme);
    m2m.fetcher.refuseAll = true;
    expect(await m2m.failure(m2m.startProcess().client.job(acme, 'j1'))).toMatchObject({
      code: 'FETCHER_UNAUTHORIZED',
    });
    expect([m2m.aws.asked.length, m2m.fetcher.tokenRequests.length, m2m.fetcher.calls.length]).toEqual([2, 2, 2]);
  });

  test('a token that ended is replaced before it is refused', async () => {
    m2m.rotate(acme);
    m2m.fetcher.expiresIn = 60;
    const { client } = m2m.startProcess();
    await client.job(acme, 'j1');
    m2m.now = 30_000;
    await client.job(acme, 'j2');
    expect(m2m.fetcher.tokenRequests).toHaveLength(2);
    expect(m2m.fetcher.calls.every((call) => call.client !== undefined)).toBe(true);
  });

  test('when the token ends after a rotation, the cached client’s refusal is no error', async () => {
    m2m.rotate(acme);
    const { client } = m2m.startProcess();
    m2m.fetcher.expiresIn = 40;
    await client.job(acme, 'j1');
    m2m.rotate(acme);
    m2m.now = 10_000;
    await client.job(acme, 'j2');
    expect([m2m.aws.asked.length, m2m.fetcher.tokenRequests.length]).toEqual([2, 3]);
  });

  test('is where the tenant’s secret says', async () => {
    const own = await startFetcher();
    own.nextAnswers.push({ status: 200, body: { id: 'j1', status: 'completed' } });
    m2m.rotate(acme, { targetBaseUrl: `${own.address}/` });
    await m2m.startProcess().client.job(acme, 'j1');
    expect(own.calls.map(({ path }) => path)).toEqual(['/v1/fetcher/j1']);
    expect(m2m.fetcher.calls).toEqual([]);
    await own.close();
  });
});
