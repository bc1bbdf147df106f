import { loadSettings } from '@matcher/shared/config/load.ts';
import { createS3Client } from '@matcher/shared/objects/tenant-objects.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { TenantPools } from '@matcher/shared/postgres/tenant-pools.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { singleTenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { leaseScope } from '@matcher/shared/tenancy/tenant-scope.ts';
import { createTenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { Pool } from 'pg';
import { median, report, rounded } from './report.ts';

/**
 * What a tenant's scope costs: `select 1` on a bare pool of the driver, in a scope that is held, and with a lease of its own
 * for every query. Short rounds of the three follow each other in turn, so that what else the machine does hits all of them.
 */
const rounds = 150;
const queries = 200;
const limit = 1.05;

const settings = loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false' });
const log = createLog({ ENV_NAME: 'bench', LOG_LEVEL: 'warn' }, 'bench');
const source = createTenantSource(settings);
const { tenantId, postgres } = singleTenantConfig(settings);
const pools = new TenantPools(source, settings, log);
const redis = createRedis(settings, log);
const s3 = createS3Client(settings);
const bare = new Pool({ ...connectionOptions(postgres, settings, 'bench'), max: settings.POSTGRES_MAX_OPEN_CONNS });
const lease = () => leaseScope({ pools, s3, redis, settings }, tenantId, async () => {}, log);

const held = await lease();
const ways = {
  'bare pg pool': () => bare.query('select 1'),
  'tenant scope, held': () => held.scope.db.query('select 1'),
  'tenant scope, a lease per query': async () => {
    const { scope, release } = await lease();
    await scope.db.query('select 1');
    release();
  },
} satisfies Record<string, () => Promise<unknown>>;
type Way = keyof typeof ways;

const times: Record<Way, number[]> = {
  'bare pg pool': [],
  'tenant scope, held': [],
  'tenant scope, a lease per query': [],
};
for (let round = -1; round < rounds; round++) {
  for (const way of Object.keys(ways) as Way[]) {
    const begin = performance.now();
    for (let query = 0; query < queries; query++) await ways[way]();
    // The first round warms up.
    if (round >= 0) times[way].push(((performance.now() - begin) * 1000) / queries);
  }
}

/** Of one round's time to the bare pool's in the same round: the median over the rounds. */
const ratioOf = (way: Way) => median(times[way].map((time, round) => time / (times['bare pg pool'][round] as number)));
report(
  ['', 'µs a query', 'ratio'],
  (Object.keys(ways) as Way[]).map((way) => [way, rounded(median(times[way]), 1).toFixed(1), ratioOf(way).toFixed(3)]),
  {
    bench: 'lease',
    ratio: rounded(ratioOf('tenant scope, a lease per query')),
    limit,
    heldRatio: rounded(ratioOf('tenant scope, held')),
    bareMicroseconds: rounded(median(times['bare pg pool']), 1),
  },
);

held.release();
await Promise.all([pools.closeAll(), bare.end()]);
redis.disconnect();
s3.destroy();
