import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { splitAddress } from '../config/kinds.ts';
import type { Settings } from '../config/variables.ts';
import type { JobType } from '../jobs/contracts/job-types.ts';
import type { FairSlots } from '../jobs/fair-slots.ts';
import type { TenantConsumers } from '../jobs/tenant-consumers.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import ownPackage from '../package.json' with { type: 'json' };
import type { TenantPools } from '../postgres/tenant-pools.ts';
import type { TenantDirectory } from '../tenancy/directory.ts';
import type { TenantSource } from '../tenancy/tenant-source.ts';
import { type ProcessSnapshot, processStates, type TenantSnapshot } from './fleet-registry.ts';
import type { Readiness } from './health-server.ts';

interface StatusParts {
  /** Unique: another start of the same worker is another process. */
  id: string;
  /** The worker's name. */
  kind: string;
  jobs: readonly JobType[];
  settings: Settings;
  directory: TenantDirectory;
  consumers: TenantConsumers;
  pools: TenantPools;
  slots: FairSlots;
  source: TenantSource;
  log: Logger;
  metrics?: Metrics;
}

const shownRefusals = 20;

/** How often (ms) it is looked whether the process is still as it was. */
const lookEvery = 500;

/** How a worker process is, as `/ready` and its snapshot say it. */
export class WorkerStatus {
  readonly #parts: StatusParts;
  readonly #startedAt = new Date().toISOString();
  #wasReady = false;
  #draining = false;
  #stopped = false;

  constructor(parts: StatusParts) {
    this.#parts = parts;
  }

  /** It takes no new work, and ends when what it has is done. */
  drain(): void {
    this.#draining = true;
  }

  /** Nothing of it is left to be done. */
  stopped(): void {
    this.#stopped = true;
  }

  /**
   * Logs when the process becomes ready or stalls, and tells of that and of every tenant that is consumed, or is not any more.
   *
   * @returns a function that ends the watch.
   */
  watch(changed: () => void): () => void {
    let before: ReturnType<WorkerStatus['readiness']> | undefined;
    const timer = setInterval(() => {
      const now = this.readiness();
      this.#parts.metrics?.tenantsShare.set(now.tenants.share);
      for (const state of processStates) this.#parts.metrics?.processState.set({ state }, state === now.state ? 1 : 0);
      const { state, reasons, tenants } = now;
      const sameState = state === (before?.state ?? 'starting');
      if (sameState && isDeepStrictEqual(tenants, before?.tenants)) return;
      before = now;
      if (!sameState && state === 'stalled') this.#parts.log.warn({ reasons, tenants }, 'not ready any more');
      if (!sameState && state === 'running') this.#parts.log.info({ tenants }, 'ready');
      changed();
    }, lookEvery);
    timer.unref();
    return () => clearInterval(timer);
  }

  /** The body of `/ready`. */
  readiness(): Readiness & {
    state: ProcessSnapshot['state'];
    reasons: string[];
    tenants: { active: number; share: number; consuming: number };
    /** Tenants that are not served because of their configuration, the first of them, each with the code of its refusal. */
    refused: Record<string, string>;
  } {
    const { directory, consumers, pools, source } = this.#parts;
    const tenants = consumers.state;
    const reasons: string[] = [];
    if (this.#draining) reasons.push('it is stopping');
    else if (!directory.known) reasons.push('the list of active tenants could not be read yet');
    // One tenant's broker that is away does not make the process useless to the others.
    else if (tenants.share > 0 && tenants.consuming === 0) {
      reasons.push(`none of the ${tenants.share} tenants of this process is consumed`);
    }
    const ready = reasons.length === 0;
    this.#wasReady ||= ready;
    const { open, leased, waiting } = pools.state();
    return {
      ready,
      state: this.#stopped
        ? 'stopped'
        : this.#draining
          ? 'draining'
          : ready
            ? 'running'
            : this.#wasReady
              ? 'stalled'
              : 'starting',
      reasons,
      tenants,
      refused: Object.fromEntries([...directory.refused].slice(0, shownRefusals)),
      pools: { open, leased, waiting },
      breaker: source.breaker ?? null,
      listComparedSecAgo:
        directory.comparedAt === undefined ? null : Math.round((Date.now() - directory.comparedAt) / 1000),
    };
  }

  /** @param port where /health, /ready and /metrics are served. */
  snapshot(port: number): ProcessSnapshot {
    const { id, kind, jobs, settings, directory, slots, pools, source } = this.#parts;
    const { state, reasons } = this.readiness();
    const host = hostname();
    return {
      id,
      kind,
      host,
      pid: process.pid,
      address: `${splitAddress(settings.SERVER_ADDRESS).host || host}:${port}`,
      version: ownPackage.version,
      startedAt: this.#startedAt,
      at: new Date().toISOString(),
      state,
      reasons,
      jobs: [...jobs],
      slots: { total: slots.total, used: slots.used },
      pools: { ...pools.state(), max: settings.MULTI_TENANT_MAX_TENANT_POOLS },
      breaker: source.breaker ?? null,
      listComparedAt: directory.comparedAt === undefined ? null : new Date(directory.comparedAt).toISOString(),
      tenants: this.#tenants(),
    };
  }

  #tenants(): ProcessSnapshot['tenants'] {
    const { consumers, pools } = this.#parts;
    const atRest: string[] = [];
    const others: TenantSnapshot[] = [];
    for (const id of new Set([...consumers.tenants(), ...pools.tenants()])) {
      const { share = false, consuming = false, since = null, running = 0 } = consumers.stateOf(id) ?? {};
      const pool = pools.poolOf(id) ?? null;
      if (share && consuming && running === 0 && pool === null) atRest.push(id);
      else others.push({ id, share, consuming, since, running, pool });
    }
    return { atRest, others };
  }
}
