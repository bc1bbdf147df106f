import { errorCode, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { TenantDatabase } from '../postgres/tenant-database.ts';
import type { JobSlot } from './job-slot.ts';
import { type Claim, checkClaim } from './record.ts';

export interface KeeperOptions {
  leaseSec: number;
  /** How long (seconds) the attempt may take. */
  deadlineSec: number;
  /** Given up while the database is silent. */
  slot: JobSlot;
  /** Aborted when the process must stop working. */
  ending: AbortSignal;
  /** Called once, when the job has been at work for long: its message must not be held for as long as it goes on. */
  long(): Promise<void>;
  log: Logger;
}

const renewalsPerLease = 3;

/** How soon (ms) a running job hears that it was cancelled. */
const lookInterval = 500;

/** Leases that a job has been at work for when it counts as long. */
const longAfterLeases = 2;

export const leaseLost = () =>
  new MatcherError('LEASE_LOST', 'Another process has taken the job over', { remedy: 'not-now' });

/**
 * Renews the claim while its job runs, and watches out for whatever must end it. The signal is aborted with the reason: the claim is lost
 * (`LEASE_LOST`), the job is cancelled (`JOB_CANCELLED`), it has taken too long (`JOB_DEADLINE_EXCEEDED`), or the process must stop.
 */
export class ClaimKeeper {
  readonly #db: TenantDatabase;
  readonly #claim: Claim;
  readonly #options: KeeperOptions;
  readonly #end = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #looksPerRenewal: number;
  #looks = 0;
  #looking = false;
  /** Renewals since the last one that was confirmed. Counted, not timed: a busy event loop makes timers late, not the database silent. */
  #unconfirmed = 0;
  #leases = 0;

  constructor(db: TenantDatabase, claim: Claim, options: KeeperOptions) {
    this.#db = db;
    this.#claim = claim;
    this.#options = options;
    if (options.ending.aborted) this.#mustStop();
    else options.ending.addEventListener('abort', this.#mustStop, { once: true });
    this.#looksPerRenewal = (options.leaseSec * 1000) / renewalsPerLease / lookInterval;
    this.#timer = setInterval(() => this.#tick(), lookInterval);
  }

  get signal(): AbortSignal {
    return this.#end.signal;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#options.ending.removeEventListener('abort', this.#mustStop);
  }

  /** In place of AbortSignal.any: whatever a handler leaves on this job's signal would stay with the process's for as long as that lives. */
  readonly #mustStop = () => this.#end.abort(this.#options.ending.reason);

  #tick(): void {
    this.#looks++;
    if (this.#looks * lookInterval >= this.#options.deadlineSec * 1000) {
      const message = `The attempt took longer than ${this.#options.deadlineSec} seconds`;
      this.#end.abort(
        new MatcherError('JOB_DEADLINE_EXCEEDED', message, { hint: 'JOB_DEADLINES says how long each type may take.' }),
      );
    }
    if (this.#looks % Math.ceil(this.#looksPerRenewal) === 0) this.#renew();
    else if (!this.#looking) void this.#look(undefined);
  }

  #renew(): void {
    // Whether the database says no or nothing at all: by now another process may have the job.
    if (this.#unconfirmed++ >= renewalsPerLease) this.#end.abort(leaseLost());
    else void this.#look(this.#options.leaseSec);
    this.#leases += 1 / renewalsPerLease;
  }

  async #sayLong(): Promise<void> {
    const leases = this.#leases;
    this.#leases = Number.NEGATIVE_INFINITY;
    try {
      await this.#options.long();
    } catch (error) {
      this.#leases = leases;
      throw error;
    }
  }

  async #look(leaseSec: number | undefined): Promise<void> {
    const { slot, log } = this.#options;
    this.#looking = true;
    try {
      const { ours, cancelled } = await slot.giveWhileSilent(checkClaim(this.#db, this.#claim, leaseSec));
      if (!ours) return this.#end.abort(leaseLost());
      if (cancelled) this.#end.abort(new MatcherError('JOB_CANCELLED', 'The job was cancelled'));
      if (leaseSec === undefined) return;
      this.#unconfirmed = 0;
      if (this.#leases >= longAfterLeases) await this.#sayLong();
    } catch (error) {
      log.warn({ code: errorCode(error) }, 'the claim on the job could not be looked after');
    } finally {
      this.#looking = false;
    }
  }
}
