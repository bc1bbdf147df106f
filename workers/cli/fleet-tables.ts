import type { FleetView, ProcessView, TenantView } from './fleet-view.ts';
import { grouped, oneLine, table } from './terminal-text.ts';

/** Tenants that the summary names; the table has them all. */
const namedAtMost = 10;

/** The state of a fleet for a person. */
export function fleetTables(view: FleetView): string {
  const total = (of: (tenant: TenantView) => number) =>
    grouped(view.tenants.reduce((sum, tenant) => sum + of(tenant), 0));
  const parts = [
    table(
      ['TENANT', 'NAME', 'STATE', 'CONSUMED BY', 'POOLS', 'USED/IDLE/MAX', 'RUNNING', 'WAITING', 'DELAYED', 'DEAD'],
      view.tenants.map(tenantRow),
    ),
    table(
      ['PROCESS', 'ADDRESS', 'STATE', 'SLOTS', 'TENANTS', 'POOLS', 'LEASED', 'WAITING', 'BREAKER', 'STARTED'],
      view.processes.map(processRow),
    ),
    [
      `${plural(view.tenants.length, 'tenant')}: ${states(view.tenants)}. ` +
        `Jobs: ${total(({ running }) => running)} running, ${total(waiting)} waiting, ` +
        `${total(({ queues }) => queues?.delayed ?? 0)} delayed, ${total(({ queues }) => queues?.dead ?? 0)} dead letters${counted(view.tenants)}.`,
      ...view.notes.map((note) => `! ${oneLine(note)}`),
    ].join('\n'),
  ];
  return parts.join('\n\n');
}

/** What the operator has to know about the rest, most urgent first. */
export function notesOn(view: Omit<FleetView, 'notes'>): string[] {
  const named = (tenants: readonly TenantView[]) => {
    const shown = tenants.slice(0, namedAtMost).map(({ id }) => id);
    const more = tenants.length - shown.length;
    return more > 0 ? `${shown.join(', ')} and ${grouped(more)} more` : shown.join(', ');
  };
  const notes = view.processes
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ kind, address, reasons }) => `${kind} at ${address} is not ready: ${reasons.join('; ')}`);
  if (view.unworked.length > 0) notes.push(`No process works ${view.unworked.join(', ')}`);
  for (const state of ['not consumed', 'partly consumed'] as const) {
    const those = view.tenants.filter((tenant) => tenant.state === state);
    if (those.length > 0) notes.push(`${state}: ${named(those)}`);
  }
  for (const { kind, address, pools } of view.processes) {
    if (pools.waiting === 0) continue;
    notes.push(
      `${kind} at ${address}: ${plural(pools.waiting, 'lease')} waiting, ${pools.open} of ${pools.max} pools open`,
    );
  }
  const problems = Map.groupBy(
    view.tenants.filter(({ queuesProblem }) => queuesProblem && queuesProblem.code !== 'TENANT_SUSPENDED'),
    ({ queuesProblem }) => `${queuesProblem?.message} [${queuesProblem?.code}]`,
  );
  for (const [problem, tenants] of problems) notes.push(`queues not counted: ${named(tenants)}: ${problem}`);
  return notes;
}

function tenantRow(tenant: TenantView) {
  const { pools, queues } = tenant;
  return [
    tenant.id,
    tenant.name ?? '',
    tenant.state,
    consumers(tenant),
    pools.open,
    pools.open === 0 ? '-' : `${pools.connections - pools.idle}/${pools.idle}/${pools.max}`,
    tenant.running,
    queues ? waiting(tenant) : '?',
    queues?.delayed ?? '?',
    queues?.dead ?? '?',
  ];
}

/** `matching 2` when all those consume it that it is given to, else `matching 1/2`. */
function consumers({ consumedBy, givenTo }: TenantView): string {
  return Object.entries(consumedBy)
    .map(([kind, count]) => {
      const all = givenTo[kind] ?? 0;
      return count >= all ? `${kind} ${count}` : `${kind} ${count}/${all}`;
    })
    .join(', ');
}

function processRow(process: ProcessView) {
  const { slots, pools, tenants } = process;
  return [
    `${process.kind}@${process.host}:${process.pid}`,
    process.address,
    process.state,
    `${slots.used}/${slots.total}`,
    tenants.notConsumed === 0 ? tenants.consumed : `${tenants.consumed}/${tenants.consumed + tenants.notConsumed}`,
    `${pools.open}/${pools.max}`,
    pools.leased,
    pools.waiting,
    process.breaker ?? '-',
    process.startedAt.replace(/\.\d+Z$/, 'Z'),
  ];
}

function waiting({ queues }: TenantView): number {
  return Object.values(queues?.jobs ?? {}).reduce((sum, count) => sum + count, 0);
}

/** Of how many tenants the sums of what waits are, unless of all. */
function counted(tenants: readonly TenantView[]): string {
  const those = tenants.filter(({ queues }) => queues).length;
  return those === tenants.length ? '' : ` (counted in ${grouped(those)} of ${plural(tenants.length, 'tenant')})`;
}

function states(tenants: readonly TenantView[]): string {
  const counts = Map.groupBy(tenants, ({ state }) => state);
  return [...counts].map(([state, those]) => `${grouped(those.length)} ${state}`).join(', ') || 'none';
}

function plural(count: number, word: string): string {
  return `${grouped(count)} ${word}${count === 1 ? '' : 's'}`;
}
