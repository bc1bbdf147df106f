import { setTimeout as delay } from 'node:timers/promises';
import type { Ledger } from './ledger.ts';
import { FleetProcess } from './processes.ts';
import type { PublisherOrder, PublisherReport } from './publisher.ts';
import type { CrashMoment } from './schedule.ts';
import { csvOf, objectKeyOf, type PlannedJob, recordsOf } from './work.ts';

/** How long (ms) a publisher that was told to crash may wait for a job to crash at. */
const crashWithin = 2000;

export interface PublishersOptions {
  count: number;
  environment: Record<string, string>;
  logs: string;
  ledger: Ledger;
  /** A tenant's id, by its name. */
  tenantId(name: string): string;
  onUntold(process: string, how: string): void;
}

/** The publisher processes, each of which publishes for its own part of the tenants, and what they report. */
export class Publishers {
  readonly #options: PublishersOptions;
  readonly #processes: FleetProcess[];

  constructor(options: PublishersOptions) {
    const { ledger, environment, logs } = options;
    this.#options = options;
    this.#processes = Array.from({ length: options.count }, (_, index) => {
      const name = `publisher.${index + 1}`;
      return new FleetProcess({
        name,
        script: 'test/torture/publisher.ts',
        environment,
        logs,
        up: '"msg":"started"',
        onMessage(message) {
          const { id, refused } = message as PublisherReport;
          const entry = ledger.entries.get(id);
          if (!entry) return;
          if (refused === undefined) entry.confirmed = true;
          else entry.refused = refused;
        },
        onUntold: (how) => {
          options.onUntold(name, how);
          void this.#restart(index, true);
        },
      });
    });
  }

  async start(): Promise<void> {
    for (const process of this.#processes) process.start();
    await Promise.all(this.#processes.map((process) => process.up()));
  }

  /** Publishes a job, soon. */
  give(job: PlannedJob): void {
    this.#options.ledger.give(job);
    this.#order(job);
  }

  /** The process dies in the middle of its work. A new one publishes what was not confirmed, or only what comes next. */
  async crash(index: number, moment: CrashMoment, republish: boolean): Promise<void> {
    const process = this.#processes[index];
    if (moment === 'at any moment') await process?.kill();
    else {
      process?.send({ kind: 'crash', moment } satisfies PublisherOrder);
      await process?.expectEnd(crashWithin);
    }
    await this.#restart(index, republish);
  }

  /** Waits until every job is confirmed or given up. */
  async idle(signal: AbortSignal): Promise<void> {
    while (this.#options.ledger.open().length > 0 && !signal.aborted) await delay(100);
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.close()));
  }

  async #restart(index: number, republish: boolean): Promise<void> {
    const process = this.#processes[index];
    const left = () => this.#options.ledger.open().filter(({ job }) => this.#ofTenant(job.tenant) === process);
    if (!republish) for (const entry of left()) entry.abandoned = true;
    process?.start();
    await process?.up();
    // Also what came in between: the same id again is the same job.
    if (republish) for (const { job } of left()) this.#order(job);
  }

  #ofTenant(name: string): FleetProcess | undefined {
    return this.#processes[Number(name.slice(-2)) % this.#processes.length];
  }

  #order({ id, tenant, type, body, twice, file }: PlannedJob): void {
    this.#ofTenant(tenant)?.send({
      kind: 'publish',
      id,
      tenantId: this.#options.tenantId(tenant),
      type,
      body,
      twice,
      ...(file && { object: { key: objectKeyOf(id), text: csvOf(recordsOf(tenant, file)) } }),
    } satisfies PublisherOrder);
  }
}
