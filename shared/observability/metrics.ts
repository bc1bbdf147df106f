import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * What a process counts, served at `/metrics` in Prometheus' text format. The `tenant_*` names are the Tenant Manager contract's; the others are ours.
 * No label holds a tenant: a series per tenant would grow with the tenants that exist.
 */
export type Metrics = ReturnType<typeof createMetrics>;

const prefix = 'matcher_';

export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,

    poolsCreated: new Counter({ name: 'tenant_connections_total', help: 'Tenant pools created', registers }),
    connectionErrors: new Counter({
      name: 'tenant_connection_errors_total',
      help: 'Tenant pools and broker connections that could not be opened',
      labelNames: ['resource', 'code'] as const,
      registers,
    }),
    consumersActive: new Gauge({
      name: 'tenant_consumers_active',
      help: 'Tenants whose queues this process consumes now',
      registers,
    }),
    messagesProcessed: new Counter({
      name: 'tenant_messages_processed_total',
      help: 'Deliveries, by job type and what became of them: done, repeated, duplicate, cancelled, failed, later, dead or returned',
      labelNames: ['type', 'outcome'] as const,
      registers,
    }),

    processState: new Gauge({
      name: `${prefix}process_state`,
      help: '1 for the state that the process is in: starting, running, stalled, draining or stopped',
      labelNames: ['state'] as const,
      registers,
    }),
    slotsUsed: new Gauge({ name: `${prefix}job_slots_used`, help: 'Jobs that are at work', registers }),
    tenantsPaused: new Gauge({
      name: `${prefix}tenants_paused`,
      help: 'Tenants whose jobs wait in their queues because their database is away',
      registers,
    }),
    slotWait: new Histogram({
      name: `${prefix}job_slot_wait_seconds`,
      help: 'How long a delivery waited for a slot',
      buckets: [0.001, 0.01, 0.1, 0.5, 1, 5, 30, 300],
      registers,
    }),

    pools: new Gauge({
      name: `${prefix}tenant_pools`,
      help: 'Tenant pools by state; open ones include the leased and the closing',
      labelNames: ['state'] as const,
      registers,
    }),
    poolWaiters: new Gauge({
      name: `${prefix}tenant_pool_waiters`,
      help: 'Leases that wait for a place among the pools',
      registers,
    }),
    poolWait: new Histogram({
      name: `${prefix}tenant_pool_wait_seconds`,
      help: 'How long a lease waited for a place among the pools',
      buckets: [0.01, 0.1, 0.5, 1, 2, 5, 10],
      registers,
    }),
    poolsClosed: new Counter({
      name: `${prefix}tenant_pools_closed_total`,
      help: 'Tenant pools closed, by reason: idle, limit, replaced, removed or stopping',
      labelNames: ['reason'] as const,
      registers,
    }),

    breakerState: new Gauge({
      name: `${prefix}tenant_manager_breaker_state`,
      help: 'Circuit breaker of the Tenant Manager: 0 closed, 1 half open, 2 open',
      registers,
    }),
    managerRequests: new Counter({
      name: `${prefix}tenant_manager_requests_total`,
      help: 'Requests to the Tenant Manager, by call and outcome: ok, refused, failed or rejected by the breaker',
      labelNames: ['call', 'outcome'] as const,
      registers,
    }),
    configLookups: new Counter({
      name: `${prefix}tenant_config_lookups_total`,
      help: 'Lookups of a tenant’s configuration: hit, miss, stale (served past its time) or negative (known to be unknown)',
      labelNames: ['result'] as const,
      registers,
    }),

    tenantsShare: new Gauge({
      name: `${prefix}tenants_share`,
      help: 'Active tenants that are this process’s to consume',
      registers,
    }),
    tenantsKnown: new Gauge({ name: `${prefix}tenants`, help: 'Active tenants that this process knows', registers }),
    discoveryLag: new Histogram({
      name: `${prefix}tenant_discovery_lag_seconds`,
      help: 'From a lifecycle event’s timestamp until the list that it made this process read was compared',
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30],
      registers,
    }),
    lifecycleEvents: new Counter({
      name: `${prefix}tenant_events_total`,
      help: 'Lifecycle events received, by type; dropped ones as "dropped"',
      labelNames: ['type'] as const,
      registers,
    }),
    listComparedAt: new Gauge({
      name: `${prefix}tenant_list_compared_timestamp_seconds`,
      help: 'When the list of active tenants was last read and compared',
      registers,
    }),

    refreshes: new Counter({
      name: `${prefix}tenant_refreshes_total`,
      help: 'Configurations re-read for open pools and connections: unchanged, changed, gone or failed',
      labelNames: ['result'] as const,
      registers,
    }),
    rotations: new Counter({
      name: `${prefix}tenant_rotations_total`,
      help: 'Pools and broker connections that gave way to a new one after their configuration had changed',
      labelNames: ['resource'] as const,
      registers,
    }),
  };
}
