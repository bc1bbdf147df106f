import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import type { FleetMember } from '../tenancy/fleet-share.ts';

/**
 * How processes of one kind find each other: each keeps a few words about itself in the fleet's Redis (REDIS_HOST). Apart from the snapshots of
 * `fleet-registry.ts`, which are for people: these are small enough to be read every second by every process.
 */

const fleetMember = z.object({
  id: z.string(),
  jobs: z.array(z.string()),
  eligible: z.boolean(),
  settled: z.boolean(),
  busy: z.array(z.string()),
}) satisfies z.ZodType<FleetMember>;

/** Ids of processes that are gone stay in the index for so long (ms); generous, since the processes' clocks may differ. */
const indexMemory = 600_000;

/**
 * @param believedMs how long the others believe what is said here.
 * @returns what tells the others how this process is and answers how all of them are, as far as this version understands them.
 */
export function memberExchange(
  redis: Redis,
  { MULTI_TENANT_ENVIRONMENT: environment }: Settings,
  kind: string,
  believedMs: number,
): (own: FleetMember) => Promise<FleetMember[]> {
  // Encoded, so that no label can reach into another deployment's keys.
  const index = `matcher:members:${encodeURIComponent(environment ?? 'default')}:${encodeURIComponent(kind)}`;
  const keyOf = (id: string) => `${index}:${id}`;
  return async (own) => {
    const now = Date.now();
    await redis
      .multi()
      .set(keyOf(own.id), JSON.stringify(own), 'PX', believedMs)
      .zadd(index, now, own.id)
      .zremrangebyscore(index, '-inf', now - indexMemory)
      .pexpire(index, indexMemory)
      .exec();
    const ids = await redis.zrange(index, 0, '-1');
    const texts = ids.length === 0 ? [] : await redis.mget(ids.map(keyOf));
    return texts.map(parse).filter((member) => member !== undefined);
  };
}

function parse(text: string | null): FleetMember | undefined {
  try {
    return fleetMember.parse(JSON.parse(text ?? ''));
  } catch {
    return undefined;
  }
}
