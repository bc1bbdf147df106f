import { setTimeout as delay } from 'node:timers/promises';
import { openDatabase } from './database.ts';
import { describeStrike, type Plan } from './plan.ts';
import type { Publishers } from './publishers.ts';
import type { ScheduledStrike, Strike, StrikeKind } from './schedule.ts';
import type { Stage } from './stage.ts';

/** What has been done, and when: milliseconds since 1970. */
export interface DoneStrike {
  strike: ScheduledStrike;
  what: string;
  began: number;
  ended: number;
}

/** Strikes of one lane wait for each other; those of different lanes coincide. */
const lanes: Record<StrikeKind, string> = {
  'kill-worker': 'workers',
  'rolling-restart': 'workers',
  'postgres-restart': 'postgres',
  'broker-kill': 'broker',
  'redis-restart': 'redis',
  'kill-scheduler': 'schedulers',
  'restart-scheduler': 'schedulers',
  cut: 'cuts',
  swallow: 'holes',
  refuse: 'holes',
  rotate: 'credentials',
  'publisher-crash': 'publishers',
  'manager-away': 'manager',
  'manager-kill': 'manager',
  hold: 'locks',
};

/** Carries the schedule out. */
export class Strikes {
  readonly done: DoneStrike[] = [];
  /** What is broken at this moment. */
  readonly current = new Set<string>();
  /** What could not be done as it should have been. */
  readonly problems: string[] = [];
  readonly #plan: Plan;
  readonly #stage: Stage;
  readonly #publishers: Publishers;

  constructor(plan: Plan, stage: Stage, publishers: Publishers) {
    this.#plan = plan;
    this.#stage = stage;
    this.#publishers = publishers;
  }

  /** Returns when the time is over and all that was broken has been mended. What comes too late in its lane is left out. */
  async run(over: AbortSignal): Promise<void> {
    const ends = new Map<string, Promise<void>>();
    const began = Date.now();
    for (const strike of this.#plan.strikes) {
      await pause(began + strike.at - Date.now(), over);
      if (over.aborted) break;
      const lane = lanes[strike.kind];
      const before = ends.get(lane) ?? Promise.resolve();
      ends.set(
        lane,
        before.then(() => (over.aborted ? undefined : this.#carryOut(strike, over))),
      );
    }
    await Promise.all(ends.values());
  }

  async #carryOut(strike: ScheduledStrike, over: AbortSignal): Promise<void> {
    const what = describeStrike(strike, this.#plan);
    const began = Date.now();
    this.current.add(what);
    try {
      await this.#strike(strike, over);
    } catch (error) {
      this.problems.push(`${what}: ${error}`);
    } finally {
      this.current.delete(what);
      this.done.push({ strike, what, began, ended: Date.now() });
    }
  }

  async #strike(strike: Strike, over: AbortSignal): Promise<void> {
    const { workers, schedulers, postgres, broker, redis, manager, managerProxy, managerProcess, tenants, ways } =
      this.#stage;
    switch (strike.kind) {
      case 'kill-worker': {
        const worker = workers[strike.worker];
        await worker?.kill();
        await pause(strike.pause, over);
        worker?.start();
        return;
      }
      case 'rolling-restart':
        for (const worker of workers) {
          await worker.stop();
          worker.start();
          await worker.up();
        }
        return;
      case 'postgres-restart':
        await postgres.down(strike.how);
        await pause(strike.pause, over);
        return await postgres.up();
      case 'broker-kill':
        await broker.down();
        await pause(strike.pause, over);
        return await broker.up();
      case 'redis-restart':
        await redis.down(strike.memory);
        await pause(strike.pause, over);
        return await redis.up();
      case 'kill-scheduler': {
        const scheduler = schedulers[strike.scheduler];
        await scheduler?.kill();
        await pause(strike.pause, over);
        scheduler?.start();
        return;
      }
      case 'restart-scheduler': {
        const scheduler = schedulers[strike.scheduler];
        await scheduler?.stop();
        scheduler?.start();
        return await scheduler?.up();
      }
      case 'cut':
        for (const way of ways(strike.network, strike.tenants)) way.cut(strike.how);
        return;
      case 'swallow':
      case 'refuse': {
        const struck = ways(strike.network, strike.tenants);
        for (const way of struck) {
          way.mode = strike.kind === 'refuse' ? 'refuse' : strike.hole;
          if (strike.kind === 'refuse') way.cut('reset');
        }
        await pause(strike.time, over);
        for (const way of struck) way.mode = 'forward';
        // A server between real hosts would find out, by its keepalives, that nobody is there any more.
        if (strike.kind === 'swallow') {
          await pause(strike.cutAfter, over);
          for (const way of struck) way.cut('reset');
        }
        return;
      }
      case 'rotate':
        return await manager.rotate(tenants[strike.tenant]?.id ?? '', strike.credentials);
      case 'publisher-crash':
        return await this.#publishers.crash(strike.publisher, strike.moment, strike.republish);
      case 'manager-away':
        managerProxy.failure = 503;
        await pause(strike.time, over);
        managerProxy.failure = undefined;
        return;
      case 'manager-kill':
        await managerProcess.kill();
        await pause(strike.pause, over);
        managerProcess.start();
        return await managerProcess.up();
      case 'hold':
        return await this.#hold(strike, over);
    }
  }

  /** Stops whoever writes to the table in the middle of its transaction. */
  async #hold({ tenant, table, time }: Strike & { kind: 'hold' }, over: AbortSignal): Promise<void> {
    const struck = this.#stage.tenants[tenant];
    if (!struck) return;
    try {
      const client = await openDatabase(this.#stage, struck);
      await client.query(`SET lock_timeout = '5s'; BEGIN; LOCK TABLE ${table} IN EXCLUSIVE MODE`);
      await pause(time, over);
      await client.end();
    } catch {
      // A restarted server lets go, too.
    }
  }
}

/** Waits, until the time of all is over. */
export async function pause(ms: number, over: AbortSignal): Promise<void> {
  if (ms > 0) await delay(ms, undefined, { signal: over }).catch(() => {});
}
