import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import { memberExchange } from '@matcher/shared/process/fleet-members.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import type { FleetMember } from '@matcher/shared/tenancy/fleet-share.ts';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { until } from '../support/fleet.ts';
import { testLog } from '../support/test-log.ts';

let environment: string;
let redis: Redis;

const settings = () => loadSettings('worker', { ...process.env, MULTI_TENANT_ENVIRONMENT: environment });

beforeAll(async () => {
  environment = 'any';
  redis = createRedis(settings(), testLog().log);
  await once(redis, 'ready');
});
afterAll(() => redis.disconnect());
beforeEach(() => {
  environment = `test-${randomBytes(6).toString('hex')}`;
});

const member = (id: string, said: Partial<FleetMember> = {}): FleetMember => ({
  id,
  jobs: ['matching.run'],
  eligible: true,
  settled: true,
  busy: [],
  ...said,
});
const exchange = (own: FleetMember, kind = 'matching', believed = 15_000) =>
  memberExchange(redis, settings(), kind, believed)(own);
const ids = (members: FleetMember[]) => members.map(({ id }) => id).toSorted();

test('processes of one kind find each other, as each last said of itself', async () => {
  const busy = member('one', { settled: false, busy: ['t'] });
  expect(await exchange(busy)).toEqual([busy]);
  expect(ids(await exchange(member('two')))).toEqual(['one', 'two']);
  const stopping = { ...busy, eligible: false };
  expect(await exchange(stopping)).toContainEqual(stopping);
});

test('another kind’s or another deployment’s processes are not counted in', async () => {
  await exchange(member('one'));
  expect(ids(await exchange(member('two'), 'export'))).toEqual(['two']);
  environment = `${environment}:matching`;
  expect(ids(await exchange(member('three')))).toEqual(['three']);
});

test('one that died without a word is forgotten', async () => {
  await exchange(member('dead'), 'matching', 200);
  expect(ids(await exchange(member('one')))).toContain('one');
  await until(async () => (await exchange(member('one'))).length === 1);
});

test('what another version says is passed over, and hides nobody', async () => {
  await exchange(member('one'));
  const index = `matcher:members:${environment}:matching`;
  for (const [id, text] of [
    ['foreign', '{"id":7}'],
    ['garbage', '{'],
  ] as const)
    await redis.multi().set(`${index}:${id}`, text, 'EX', 15).zadd(index, Date.now(), id).exec();
  expect(ids(await exchange(member('two')))).toEqual(['one', 'two']);
});

test.each([-86_400_000, 86_400_000])(
  'a process whose clock is wrong by %i ms sees the others, is seen, and makes nobody vanish',
  async (skew) => {
    await exchange(member('right'));
    const now = vi.spyOn(Date, 'now').mockImplementation(() => performance.timeOrigin + performance.now() + skew);
    try {
      expect(ids(await exchange(member('wrong')))).toEqual(['right', 'wrong']);
    } finally {
      now.mockRestore();
    }
    expect(ids(await exchange(member('right')))).toEqual(['right', 'wrong']);
  },
);
