import { createMetrics as createSharedMetrics } from '@matcher/shared/observability/metrics.ts';
import { Counter, Histogram } from 'prom-client';

/** What a scheduler counts beside what every process counts, served at `/metrics`. */
export function createMetrics() {
  const shared = createSharedMetrics();
  const registers = [shared.registry];
  return {
    shared,
    registry: shared.registry,
    firings: new Counter({
      name: 'matcher_schedule_firings_total',
      help: 'Firings, by outcome: published, skipped (an earlier run waits or runs), superseded (by a later firing), outdated, inactive, given-up or failed (is tried again)',
      labelNames: ['outcome'] as const,
      registers,
    }),
    firingLag: new Histogram({
      name: 'matcher_schedule_lag_seconds',
      help: 'From the time of a firing until its job was confirmed by the broker',
      buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 3600],
      registers,
    }),
    maintenances: new Counter({
      name: 'matcher_maintenance_total',
      help: 'Looks after a tenant, by outcome: done, failed (a step of it, or all) or inactive',
      labelNames: ['outcome'] as const,
      registers,
    }),
    maintenanceFailures: new Counter({
      name: 'matcher_maintenance_failures_total',
      help: 'Steps of a maintenance that failed, by step and error code',
      labelNames: ['step', 'code'] as const,
      registers,
    }),
    maintained: new Counter({
      name: 'matcher_maintenance_items_total',
      help: 'What maintenance has dealt with: expired (exports), orphans (objects), uploads, records (of jobs), cancellations, schedules (changed)',
      labelNames: ['kind'] as const,
      registers,
    }),
    maintenanceDuration: new Histogram({
      name: 'matcher_maintenance_seconds',
      help: 'How long a look after a tenant took',
      buckets: [0.05, 0.1, 0.5, 1, 5, 15, 60],
      registers,
    }),
  };
}

export type SchedulerMetrics = ReturnType<typeof createMetrics>;
