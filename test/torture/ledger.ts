import type { PlannedJob } from './work.ts';

/** What is known of a job from outside the fleet: from its publisher alone. */
export interface Entry {
  job: PlannedJob;
  /** When (ms since 1970) a publisher got it: from then on it may have been published. */
  givenAt: number;
  confirmed: boolean;
  /** Its publisher died before it heard of the confirm, and nobody publishes it again: it is there once or not at all. */
  abandoned: boolean;
  /** Why its publisher gave up. */
  refused?: string;
}

/** Every job that a publisher was given, by its id. */
export class Ledger {
  readonly entries = new Map<string, Entry>();

  give(job: PlannedJob): void {
    this.entries.set(job.id, { job, givenAt: Date.now(), confirmed: false, abandoned: false });
  }

  get confirmed(): number {
    return [...this.entries.values()].filter(({ confirmed }) => confirmed).length;
  }

  /** Those whose publisher has still to say what became of them. */
  open(): Entry[] {
    return [...this.entries.values()].filter(
      ({ confirmed, abandoned, refused }) => !confirmed && !abandoned && refused === undefined,
    );
  }

  ofTenant(name: string): Entry[] {
    return [...this.entries.values()].filter(({ job }) => job.tenant === name);
  }
}
