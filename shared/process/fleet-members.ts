import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import type { FleetMember } from '../tenancy/fleet-share.ts';
import { Presence } from './presence.ts';

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

/** In ms. */
const indexMemory = 600_000;

/**
 * @param believedMs how long the others believe what is said here.
 * @returns what tells the others how this process is and answers how all of them are, as far as this version understands them.
 */
export function memberExchange(
  redis: Redis,
  settings: Settings,
  kind: string,
  believedMs: number,
): (own: FleetMember) => Promise<FleetMember[]> {
  const presence = new Presence(redis, settings, ['members', kind], { believedMs, indexMemoryMs: indexMemory });
  return async (own) => {
    await presence.say(own.id, JSON.stringify(own));
    return (await presence.read()).map(parse).filter((member) => member !== undefined);
  };
}

function parse(text: string): FleetMember | undefined {
  try {
    return fleetMember.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
