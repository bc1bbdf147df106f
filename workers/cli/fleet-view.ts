import { MatcherError } from '@matcher/shared/errors.ts';
import { type JobType, jobTypes } from '@matcher/shared/jobs/contracts/job-types.ts';
import type { ProcessSnapshot } from '@matcher/shared/process/fleet-registry.ts';
import type { QueueDepths } from '@matcher/shared/rabbitmq/queue-depths.ts';

/**
 * - `active`: every job type that any process works is consumed for it.
 * - `partly consumed`: some are.
 * - `not consumed`: none is, although it is active.
 * - `suspended`: the Tenant Manager says so; its messages wait.
 * - `leaving`: the Tenant Manager no longer lists it, and a process still has something of it.
 * - `unknown`: the Tenant Manager cannot be asked.
 */
export type TenantState = 'active' | 'partly consumed' | 'not consumed' | 'suspended' | 'leaving' | 'unknown';

export interface TenantView {
  id: string;
  name: string | null;
  state: TenantState;
  /** How many processes consume it, by kind, of those that are there; draining ones count as long as they consume. */
  consumedBy: Record<string, number>;
  /** How many processes it is given to, by kind. With many tenants these are not all that there are. */
  givenTo: Record<string, number>;
  /** Its jobs that run now. */
  running: number;
  /** How many processes have its pool open, and the sums over these pools. `waiting`: queries that wait for a connection. */
  pools: { open: number; leases: number; connections: number; idle: number; waiting: number; max: number };
  /** Null when the broker could not be asked; `queuesProblem` says why. */
  queues: QueueDepths | null;
  queuesProblem: { code: string; message: string } | null;
}

export type ProcessView = Omit<ProcessSnapshot, 'tenants'> & { tenants: { consumed: number; notConsumed: number } };

/** What `matcher tenants --json` prints. */
export interface FleetView {
  at: string;
  environment: string | null;
  /** By name. */
  tenants: TenantView[];
  processes: ProcessView[];
  /** Job types that no process works. */
  unworked: JobType[];
  /** What a person should know about the rest. */
  notes: string[];
}

export interface ListedTenant {
  id: string;
  name: string | null;
}

export interface FleetSources {
  processes: readonly ProcessSnapshot[];
  /** The Tenant Manager's list of active tenants, or why there is none. */
  listed: readonly ListedTenant[] | MatcherError;
  /** What each tenant's vhost answered, or why it did not. */
  depths: ReadonlyMap<string, QueueDepths | MatcherError>;
}

/** Every tenant that is listed, or of which a process has something. */
export function knownTenants(
  processes: readonly ProcessSnapshot[],
  listed: readonly ListedTenant[] | MatcherError,
): ListedTenant[] {
  const tenants = new Map<string, ListedTenant>();
  if (!(listed instanceof MatcherError)) for (const one of listed) tenants.set(one.id, one);
  for (const { tenants: held } of processes) {
    for (const id of [...held.atRest, ...held.others.map((one) => one.id)]) {
      if (!tenants.has(id)) tenants.set(id, { id, name: null });
    }
  }
  return [...tenants.values()].sort(
    (a, b) => (a.name ?? '').localeCompare(b.name ?? '') || a.id.localeCompare(b.id, 'en'),
  );
}

export function viewTenants(tenants: readonly ListedTenant[], sources: FleetSources): TenantView[] {
  const { processes, listed, depths } = sources;
  const worked = new Set(processes.flatMap(({ jobs }) => jobs));
  const active = listed instanceof MatcherError ? undefined : new Set(listed.map(({ id }) => id));
  const holdings = holdingsByTenant(processes);
  return tenants.map(({ id, name }) => {
    const held = holdings.get(id) ?? [];
    const consuming = held.filter((one) => one.consuming);
    const consumed = new Set(consuming.flatMap(({ process }) => process.jobs));
    const depth = depths.get(id);
    const state = (): TenantState => {
      if (depth instanceof MatcherError && depth.code === 'TENANT_SUSPENDED') return 'suspended';
      if (!active) return 'unknown';
      if (!active.has(id)) return 'leaving';
      if (consumed.size === 0) return 'not consumed';
      return consumed.size < worked.size ? 'partly consumed' : 'active';
    };
    const byKind = (those: readonly Holding[]) => {
      const counts: Record<string, number> = {};
      for (const { kind } of processes) counts[kind] ??= 0;
      for (const { process } of those) counts[process.kind] = (counts[process.kind] ?? 0) + 1;
      return counts;
    };
    const pools = held.map(({ pool }) => pool).filter((pool) => pool !== null);
    const sum = (of: (pool: (typeof pools)[number]) => number) => pools.reduce((total, pool) => total + of(pool), 0);
    return {
      id,
      name,
      state: state(),
      consumedBy: byKind(consuming),
      givenTo: byKind(held.filter(({ share }) => share)),
      running: held.reduce((total, one) => total + one.running, 0),
      pools: {
        open: pools.length,
        leases: sum((pool) => pool.leases),
        connections: sum((pool) => pool.connections),
        idle: sum((pool) => pool.idle),
        waiting: sum((pool) => pool.waiting),
        max: sum((pool) => pool.max),
      },
      queues: depth === undefined || depth instanceof MatcherError ? null : depth,
      queuesProblem: depth instanceof MatcherError ? { code: depth.code, message: depth.message } : null,
    };
  });
}

export function viewProcess({ tenants, ...process }: ProcessSnapshot): ProcessView {
  const consumed = tenants.atRest.length + tenants.others.filter(({ consuming }) => consuming).length;
  const notConsumed = tenants.others.filter(({ share, consuming }) => share && !consuming).length;
  return { ...process, tenants: { consumed, notConsumed } };
}

export function unworkedTypes(processes: readonly ProcessSnapshot[]): JobType[] {
  const worked = new Set(processes.flatMap(({ jobs }) => jobs));
  return jobTypes.filter((type) => !worked.has(type));
}

interface Holding {
  process: ProcessSnapshot;
  share: boolean;
  consuming: boolean;
  running: number;
  pool: ProcessSnapshot['tenants']['others'][number]['pool'];
}

/** What each process has of each tenant. */
function holdingsByTenant(processes: readonly ProcessSnapshot[]): Map<string, Holding[]> {
  const holdings = new Map<string, Holding[]>();
  const add = (id: string, holding: Holding) => {
    const known = holdings.get(id);
    if (known) known.push(holding);
    else holdings.set(id, [holding]);
  };
  for (const process of processes) {
    for (const id of process.tenants.atRest) add(id, { process, share: true, consuming: true, running: 0, pool: null });
    for (const { id, ...held } of process.tenants.others) add(id, { process, ...held });
  }
  return holdings;
}
