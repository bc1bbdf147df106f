import type { Draw } from './draw.ts';

/** What is done to the fleet, its servers and its publishers, and when. */

export const workerKinds = ['ingest', 'matching', 'export'] as const;

export type Network = 'postgres' | 'rabbitmq' | 'storage' | 'redis';
export type Hole = 'swallow' | 'swallow-requests' | 'swallow-answers';
export type CrashMoment = 'after publishing' | 'after the confirm' | 'at any moment';

/** Durations in milliseconds; tenants by index; workers, schedulers and publishers by index among all of them. */
export type Strike =
  | { kind: 'kill-worker'; worker: number; pause: number }
  | { kind: 'rolling-restart' }
  | { kind: 'postgres-restart'; how: 'fast' | 'immediate'; pause: number }
  | { kind: 'broker-kill'; pause: number }
  | { kind: 'redis-restart'; memory: 'kept' | 'lost'; pause: number }
  | { kind: 'kill-scheduler'; scheduler: number; pause: number }
  | { kind: 'restart-scheduler'; scheduler: number }
  | { kind: 'cut'; network: Network; how: 'end' | 'reset'; tenants: readonly number[] }
  | { kind: 'swallow'; network: Network; hole: Hole; tenants: readonly number[]; time: number; cutAfter: number }
  | { kind: 'refuse'; network: Network; tenants: readonly number[]; time: number }
  | { kind: 'rotate'; tenant: number; credentials: 'database' | 'broker' | undefined }
  | { kind: 'publisher-crash'; publisher: number; moment: CrashMoment; republish: boolean }
  | { kind: 'manager-away'; time: number }
  | { kind: 'manager-kill'; pause: number }
  | { kind: 'hold'; tenant: number; table: string; time: number };

export type StrikeKind = Strike['kind'];
export type ScheduledStrike = Strike & { at: number };

/** How often each comes in a round; the order within a round is drawn. */
const round: StrikeKind[] = Object.entries({
  'kill-worker': 5,
  'publisher-crash': 4,
  cut: 3,
  rotate: 3,
  swallow: 2,
  'postgres-restart': 2,
  'redis-restart': 2,
  'kill-scheduler': 2,
  hold: 2,
  'broker-kill': 1,
  refuse: 1,
  'rolling-restart': 1,
  'restart-scheduler': 1,
  'manager-away': 1,
  'manager-kill': 1,
} satisfies Record<StrikeKind, number>).flatMap(([kind, count]) => Array<StrikeKind>(count).fill(kind as StrikeKind));

export interface ScheduleOptions {
  tenants: number;
  workers: number;
  schedulers: number;
  publishers: number;
  seconds: number;
}

/** Milliseconds between two, at least and at most; a run that is short has to make the best of it. */
const gaps = (seconds: number) => (seconds < 60 ? ([700, 2200] as const) : ([2500, 6500] as const));

export function planSchedule(draw: Draw, options: ScheduleOptions): ScheduledStrike[] {
  const strikes: ScheduledStrike[] = [];
  let left: StrikeKind[] = [];
  const [shortest, longest] = gaps(options.seconds);
  for (let at = 1000; at < options.seconds * 1000; at += draw.integer(shortest, longest)) {
    if (left.length === 0) left = draw.shuffled(round);
    strikes.push({ ...strikeOf(draw, left.shift() as StrikeKind, options), at });
  }
  return strikes;
}

function strikeOf(draw: Draw, kind: StrikeKind, { tenants, workers, schedulers, publishers }: ScheduleOptions): Strike {
  const seconds = (min: number, max: number) => draw.integer(min * 10, max * 10) * 100;
  const tenant = () => draw.integer(0, tenants - 1);
  const several = () => {
    const all = Array.from({ length: tenants }, (_, index) => index);
    const size = draw.pick([1, Math.ceil(tenants / 3), tenants]);
    return draw
      .shuffled(all)
      .slice(0, size)
      .sort((a, b) => a - b);
  };
  const network = () => draw.pick<Network>(['postgres', 'postgres', 'rabbitmq', 'rabbitmq', 'storage', 'redis']);
  switch (kind) {
    case 'kill-worker':
      return { kind, worker: draw.integer(0, workers - 1), pause: seconds(0, 2) };
    case 'postgres-restart':
      return { kind, how: draw.pick(['fast', 'immediate']), pause: seconds(0, 4) };
    case 'broker-kill':
      return { kind, pause: seconds(0, 4) };
    case 'redis-restart':
      return { kind, memory: draw.pick(['kept', 'lost']), pause: seconds(0, 4) };
    case 'kill-scheduler':
      return { kind, scheduler: draw.integer(0, schedulers - 1), pause: seconds(0, 2) };
    case 'restart-scheduler':
      return { kind, scheduler: draw.integer(0, schedulers - 1) };
    case 'cut':
      return { kind, network: network(), how: draw.pick(['end', 'reset']), tenants: several() };
    case 'swallow': {
      const hole = draw.pick<Hole>(['swallow', 'swallow-requests', 'swallow-answers']);
      return { kind, network: network(), hole, tenants: several(), time: seconds(2, 8), cutAfter: seconds(0, 12) };
    }
    case 'refuse':
      return { kind, network: network(), tenants: several(), time: seconds(2, 6) };
    case 'rotate':
      return { kind, tenant: tenant(), credentials: draw.pick([undefined, 'database', 'broker']) };
    case 'publisher-crash': {
      const moment = draw.pick<CrashMoment>(['after publishing', 'after the confirm', 'at any moment']);
      return { kind, publisher: draw.integer(0, publishers - 1), moment, republish: draw.chance(0.6) };
    }
    case 'manager-away':
      return { kind, time: seconds(2, 6) };
    case 'manager-kill':
      return { kind, pause: seconds(0, 3) };
    case 'hold': {
      const table = draw.pick(['match_groups', 'transactions', 'exports', 'jobs']);
      return { kind, tenant: tenant(), table, time: seconds(2, 9) };
    }
    case 'rolling-restart':
      return { kind };
  }
}
