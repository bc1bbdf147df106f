import { mkdirSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { check } from './check/check.ts';
import { recordEvents } from './check/read.ts';
import type { Finding } from './check/state.ts';
import { Ledger } from './ledger.ts';
import { clock, describePlan, makePlan, type PlanOptions } from './plan.ts';
import { Publishers } from './publishers.ts';
import { makeReport, type Report } from './report.ts';
import { bucketOf, expectationOf, stateOf } from './result.ts';
import { startStage } from './stage.ts';
import { pause, Strikes } from './strikes.ts';
import { atRest, endedJobs, unfired } from './watch.ts';
import { contextJob, contexts, exportJob, matchingJob, type PlannedJob, tenantNames } from './work.ts';

export interface TortureOptions extends PlanOptions {
  /** How long (s) the fleet may take to come to rest when nothing strikes any more. */
  rest: number;
  /** Where the logs are kept; otherwise in a temporary folder, which stays when there are findings. */
  keepLogs?: string | undefined;
  /** Progress for a person, a line at a time. */
  say(line: string): void;
  /** Ends it; nothing stays. */
  signal: AbortSignal;
}

/** Jobs that may wait for their confirm, and for their end, before more are published. */
const most = { unconfirmed: 50, open: 250 };

/**
 * Carries out the plan that the seed gives, waits until the fleet has come to rest, and looks whether every job was done once. Nothing that it starts
 * is left, whatever happens.
 *
 * @throws the signal's reason, and what went wrong outside the fleet.
 */
export async function torture(options: TortureOptions): Promise<Report> {
  const { say, signal } = options;
  const plan = makePlan(options);
  for (const line of describePlan(plan)) say(line);
  const logs = options.keepLogs ?? mkdtempSync(join(tmpdir(), 'matcher-torture-'));
  mkdirSync(logs, { recursive: true });
  let keep = true;
  const untold: Finding[] = [];
  const onUntold = (process: string, how: string) => {
    say(`${process} ${how}`);
    untold.push({ tenant: '-', what: `${process} ${how}` });
  };
  const closing: (() => Promise<void>)[] = [];
  try {
    const stage = await startStage(plan, { logs, say, signal, onUntold });
    closing.push(stage.close);
    const ledger = new Ledger();
    const publishers = new Publishers({
      count: plan.options.publishers,
      environment: stage.environment,
      logs,
      ledger,
      tenantId: (name) => stage.tenants.find((tenant) => tenant.name === name)?.id ?? '',
      onUntold,
    });
    closing.push(() => publishers.close());
    await Promise.all(stage.tenants.map(({ connections }) => recordEvents(connections.rabbitmq)));
    say('starting workers, schedulers and publishers');
    const fleet = [...stage.workers, ...stage.schedulers];
    for (const one of fleet) one.start();
    await Promise.all([publishers.start(), ...fleet.map((one) => one.up())]);

    const timeLimit = (seconds: number) => AbortSignal.any([signal, AbortSignal.timeout(seconds * 1000)]);
    /** Publishes what depends on nothing else, and waits until the fleet is at rest or its time is over. Returns whether it is at rest. */
    const wave = async (jobs: PlannedJob[], seconds: number) => {
      for (const job of jobs) publishers.give(job);
      const over = timeLimit(seconds);
      await publishers.idle(over);
      await atRest(stage, ledger, over);
      signal.throwIfAborted();
      return !over.aborted;
    };
    const everywhere = (make: (tenant: string, context: string) => PlannedJob) =>
      stage.tenants.flatMap(({ name }) => contexts.map((context) => make(name, context)));

    const ready = await wave(
      everywhere((tenant, context) => contextJob(tenant, context, `${tenant}-setup-${context}`)),
      options.rest,
    );
    // Without contexts every job fails, and tells nothing.
    if (!ready)
      throw new Error(`the contexts were not applied in ${options.rest} s, before anything was struck: ${logs}`);

    say('it begins');
    const began = Date.now();
    const over = AbortSignal.any([signal, AbortSignal.timeout(options.minutes * 60_000)]);
    const strikes = new Strikes(plan, stage, publishers);
    const striking = strikes.run(over);
    striking.catch(() => {});
    let ended = 0;
    const watching = watch();
    watching.catch(() => {});
    const tooMuch = () => ledger.open().length > most.unconfirmed || ledger.entries.size - ended > most.open;
    for (const job of plan.jobs) {
      while (!over.aborted && tooMuch()) await pause(100, over);
      await pause(began + job.at - Date.now(), over);
      if (over.aborted) break;
      publishers.give(job);
    }
    await pause(began + options.minutes * 60_000 - Date.now(), over);
    await Promise.all([striking, watching]);
    signal.throwIfAborted();

    say('nothing strikes any more; the fleet comes to rest');
    for (const one of [stage.managerProcess, ...fleet]) one.start();
    const calm = Date.now();
    await wave([], options.rest);
    const rest = (Date.now() - calm) / 1000;
    say(`everything published has come to its end in ${rest.toFixed(1)} s`);
    // A run of less than a minute may have no firing.
    const silent = options.minutes < 1 ? [] : await unfired(stage, calm, timeLimit(options.rest));
    signal.throwIfAborted();
    await Promise.all(stage.schedulers.map((scheduler) => scheduler.stop()));
    say('matching and exporting once more');
    await wave(
      everywhere((tenant, context) => matchingJob(tenant, context, `${tenant}-final-matching-${context}`)),
      options.rest,
    );
    await wave(
      everywhere((tenant, context) => exportJob(tenant, context, `${tenant}-final-export-${context}`, 'MATCHED')),
      options.rest,
    );
    // What they held unacknowledged is in its queue again.
    await Promise.all(stage.workers.map((worker) => worker.stop()));

    say('checking');
    const tenants = [];
    for (const tenant of stage.tenants) {
      tenants.push({ expected: expectationOf(tenant, ledger), state: await stateOf(stage, tenant) });
    }
    const verdict = await check(tenants, await bucketOf(stage), tenantNames);
    verdict.findings.push(
      ...untold,
      ...silent.map(({ name }) => ({ tenant: name, what: `its schedule has not fired in ${options.rest} s of calm` })),
      ...strikes.problems.map((what) => ({ tenant: '-', what })),
      ...[...ledger.entries.values()].flatMap(({ job, refused }) =>
        refused === undefined ? [] : [{ tenant: job.tenant, job: job.id, what: `its publisher gave up: ${refused}` }],
      ),
    );
    keep = verdict.findings.length > 0 || options.keepLogs !== undefined;
    return makeReport({ plan, ledger, tenants, verdict, strikes: strikes.done, rest, logs: keep ? logs : undefined });

    async function watch(): Promise<void> {
      while (!over.aborted) {
        await pause(4000, over);
        ended = await endedJobs(stage, ended);
        const { size } = ledger.entries;
        const now = [...strikes.current].join('; ');
        say(
          `[${clock(Date.now() - began)}] ${size} given, ${ledger.confirmed} confirmed, ${ended} done${now && ` | ${now}`}`,
        );
      }
    }
  } finally {
    for (const end of closing.toReversed()) await end();
    if (signal.aborted && options.keepLogs === undefined) keep = false;
    if (!keep) await rm(logs, { recursive: true, force: true });
    // The last lines of logs are written when their streams end.
    else await delay(100);
  }
}
