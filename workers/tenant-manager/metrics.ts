import { Counter, collectDefaultMetrics, Registry } from 'prom-client';

/** What the Tenant Manager counts, served at `/metrics`. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    answers: new Counter({
      name: 'matcher_tenant_manager_answers_total',
      help: 'Answers of the Tenant Manager, by route and HTTP status',
      labelNames: ['method', 'route', 'status'] as const,
      registers: [registry],
    }),
  };
}
