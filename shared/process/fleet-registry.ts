import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import { errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import { Presence } from './presence.ts';

/**
 * Who is there: every worker process keeps a snapshot of itself in the fleet's Redis (REDIS_HOST), outside the tenants' key spaces. It vanishes by itself
 * soon after its process did. Nothing in it is secret, and no work depends on it.
 */

/** How often (ms) a process says that it is there, and how long (ms) it is believed. Two may get lost. */
const interval = 5000;
const believed = 15_000;

/** A change is told within so many milliseconds; a thousand changes at once are told together. */
const soonMs = 100;

/** In ms. */
const indexMemory = 3_600_000;

/** `stalled`: was running, and consumes nothing now. */
export const processStates = ['starting', 'running', 'stalled', 'draining', 'stopped'] as const;

const count = z.number().int();

const poolSnapshot = z.object({ connections: count, idle: count, waiting: count, leases: count, max: count });

const tenantSnapshot = z.object({
  id: z.string(),
  /** Whether the tenant is this process's to consume, as against one of which it still has something. */
  share: z.boolean(),
  /** Whether the tenant's job queues are consumed now, and since when; null while they are not. */
  consuming: z.boolean(),
  since: z.string().nullable(),
  /** Its jobs that run now. */
  running: count,
  /** Its pool, as far as one is open. `waiting`: queries that wait for a connection. */
  pool: poolSnapshot.nullable(),
});
export type TenantSnapshot = z.infer<typeof tenantSnapshot>;

/** One process at one moment. Times are RFC 3339. */
const processSnapshot = z.object({
  /** Unique: another start of the same worker is another process. */
  id: z.string(),
  /** The worker's name: `ingest`, `matching`, `export`. */
  kind: z.string(),
  host: z.string(),
  pid: count,
  /** host:port of /health, /ready and /metrics. */
  address: z.string(),
  version: z.string(),
  startedAt: z.string(),
  at: z.string(),
  state: z.enum(processStates),
  /** Why it is not ready. */
  reasons: z.array(z.string()),
  /** The job types that it works. */
  jobs: z.array(z.string()),
  slots: z.object({ total: count, used: count }),
  /** Tenant pools. `waiting`: leases that wait for a place among them. */
  pools: z.object({ open: count, leased: count, closing: count, waiting: count, max: count }),
  /** Of the Tenant Manager; null in single-tenant mode, where there is none. */
  breaker: z.enum(['closed', 'half-open', 'open']).nullable(),
  listComparedAt: z.string().nullable(),
  tenants: z.object({
    /** Ids of those of its share that are consumed and do nothing: no pool, no running job. */
    atRest: z.array(z.string()),
    others: z.array(tenantSnapshot),
  }),
});
export type ProcessSnapshot = z.infer<typeof processSnapshot>;

export interface Announcement {
  /** Tells a change before its turn. Returns at once. */
  soon(): void;
  /** Says goodbye: the snapshot is gone when this ends, as far as Redis can be reached. */
  stop(): Promise<void>;
}

/**
 * Keeps the snapshot of this process in Redis, from now on. Redis being away disturbs nothing: the process is told of again when it is back.
 *
 * @param snapshot is asked for each time; its `id` is always the same.
 */
export function announce(redis: Redis, settings: Settings, log: Logger, snapshot: () => ProcessSnapshot): Announcement {
  const presence = presenceOf(redis, settings);
  const { id } = snapshot();
  let writing: Promise<void> | undefined;
  let stopped = false;
  let coming: NodeJS.Timeout | undefined;

  const write = async () => {
    try {
      await presence.say(id, JSON.stringify(snapshot()));
    } catch (error) {
      log.debug({ reason: errorMessage(error) }, 'this process could not be announced');
    }
  };
  /** One at a time: a Redis that does not answer must not gather them. */
  const tell = () => {
    if (stopped || writing) return;
    writing = write().finally(() => {
      writing = undefined;
    });
  };
  const soon = () => {
    if (stopped) return;
    coming ??= setTimeout(() => {
      coming = undefined;
      // What is being written may be from before the change.
      if (writing) soon();
      else tell();
    }, soonMs).unref();
  };

  const timer = setInterval(tell, interval).unref();
  redis.on('ready', tell);
  if (redis.status === 'ready') tell();

  return {
    soon,
    async stop() {
      stopped = true;
      clearInterval(timer);
      clearTimeout(coming);
      redis.off('ready', tell);
      await writing;
      try {
        await presence.leave(id);
      } catch (error) {
        log.debug({ reason: errorMessage(error) }, 'this process could not sign off');
      }
    },
  };
}

export interface FleetReading {
  /** By kind, host and process. */
  processes: ProcessSnapshot[];
  /** Processes whose snapshot this version does not understand. */
  unreadable: number;
}

/**
 * The processes that are there, as each last said of itself.
 *
 * @throws MatcherError `REDIS_UNAVAILABLE`
 */
export async function readFleet(redis: Redis, settings: Settings): Promise<FleetReading> {
  let texts: string[];
  try {
    texts = await presenceOf(redis, settings).read();
  } catch (cause) {
    throw new MatcherError('REDIS_UNAVAILABLE', `The fleet’s Redis cannot be asked (${errorMessage(cause)})`, {
      remedy: 'not-now',
      cause,
    });
  }
  const processes = texts.map(parse).filter((one) => one !== undefined);
  processes.sort(
    (a, b) => a.kind.localeCompare(b.kind) || a.host.localeCompare(b.host) || a.startedAt.localeCompare(b.startedAt),
  );
  return { processes, unreadable: texts.length - processes.length };
}

function parse(text: string): ProcessSnapshot | undefined {
  try {
    return processSnapshot.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function presenceOf(redis: Redis, settings: Settings): Presence {
  return new Presence(redis, settings, ['fleet'], { believedMs: believed, indexMemoryMs: indexMemory });
}
