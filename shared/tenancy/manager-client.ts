import { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { Metrics } from '../observability/metrics.ts';
import { newTraceContext } from '../observability/trace-context.ts';
import { ConfigCache } from './config-cache.ts';
import { type BreakerState, ManagerBreaker } from './manager-breaker.ts';
import { type ManagerAnswer, type ManagerCall, performCall } from './manager-call.ts';
import { forbidsServing } from './manager-refusals.ts';
import { type TenantConfig, tenantConfigFrom } from './tenant-config.ts';
import { canonicalTenantId, type TenantId, tryCanonicalTenantId } from './tenant-id.ts';
import { isSameVhost, VhostOwners } from './vhost-owners.ts';
import { activeTenantsAnswer, connectionsAnswer, service } from './wire.ts';

export interface NewTenant {
  id?: string;
  name: string;
  slug?: string;
  environment: string;
  isolation: string;
  metadata?: Record<string, string>;
  owner: { email: string };
}

/** A limit that is absent stays as it is; `null` takes it back. */
export interface NewLimits {
  maxOpenConns?: number | null;
  maxIdleConns?: number | null;
  /** Milliseconds, or a text like `30s`; 0 means without end. */
  statementTimeout?: number | string | null;
}

/** How a tenant's service is after a call that changed it. */
export interface AssociationState {
  serviceName: string;
  status: string;
}

export interface ManagerClientParts {
  log?: Logger;
  metrics?: Metrics;
}

/** The Tenant Manager, as workers and the command line see it. */
export type TenantManagerClient = ReturnType<typeof createTenantManagerClient>;

const createdAnswer = z.object({
  id: z.string().refine((id) => tryCanonicalTenantId(id) !== undefined),
  slug: z.string(),
  status: z.string(),
});
const associationAnswer = z.object({ serviceName: z.string(), status: z.string() });

/**
 * Speaks the Tenant Manager's HTTP contract. Calls throw MatcherError `TENANT_MANAGER_UNAVAILABLE`, `TENANT_MANAGER_REFUSED`; about a tenant
 * also `TENANT_NOT_FOUND`, `TENANT_SUSPENDED`, whose message says in which way, and `VHOST_OF_ANOTHER_TENANT`.
 *
 * What workers ask (the list, configurations) goes through one circuit breaker. Administration does not: somebody waits for its answer, will
 * see the failure, and may be about to repair what opened the breaker.
 */
export function createTenantManagerClient(settings: Settings, { log, metrics }: ManagerClientParts = {}) {
  const { MULTI_TENANT_URL: base, MULTI_TENANT_SERVICE_API_KEY: apiKey } = settings;
  if (base === undefined || apiKey === undefined) {
    throw new MatcherError('INVALID_CONFIG', 'MULTI_TENANT_URL and MULTI_TENANT_SERVICE_API_KEY are required');
  }
  const target = { base, apiKey, timeoutMs: settings.MULTI_TENANT_TIMEOUT * 1000 };
  const breaker = new ManagerBreaker(settings, { ...(log && { log }), ...(metrics && { metrics }) });

  async function ask<S extends z.ZodType>(call: ManagerCall<S>): Promise<z.output<S>> {
    const trace = newTraceContext();
    const began = performance.now();
    const seen = (error: unknown) => ({
      call: call.name,
      ...(call.tenantId && { tenantId: call.tenantId }),
      traceId: trace.traceId,
      ms: Math.round(performance.now() - began),
      code: errorCode(error),
      reason: errorMessage(error),
    });
    const count = (outcome: string) => metrics?.managerRequests.inc({ call: call.name, outcome });
    let sent = false;
    const perform = () => {
      sent = true;
      return performCall(target, call, trace);
    };
    let answer: ManagerAnswer<z.output<S>>;
    try {
      answer = await (call.method === 'GET' ? breaker.run(perform, call.signal) : perform());
    } catch (error) {
      if (!sent) count('rejected');
      // Whoever stopped waiting learned nothing.
      else if (!call.signal?.aborted) {
        count('failed');
        log?.warn(seen(error), 'a request to the Tenant Manager failed');
      }
      throw error;
    }
    if ('refusal' in answer) {
      count('refused');
      log?.info(seen(answer.refusal), 'the Tenant Manager refused a request');
      throw answer.refusal;
    }
    count('ok');
    return answer.value;
  }

  const tenantPath = (tenantId: TenantId) => `/v1/tenants/${encodeURIComponent(tenantId)}`;
  const associationPath = (tenantId: TenantId) => `${tenantPath(tenantId)}/associations/${service}`;

  const owners = new VhostOwners();

  /** The configuration as the Tenant Manager has it, whoever else may have the same. */
  async function askConfig(tenantId: TenantId): Promise<TenantConfig> {
    const path = `${associationPath(tenantId)}/connections`;
    try {
      const answer = await ask({ name: 'connections', method: 'GET', path, tenantId, answer: connectionsAnswer });
      return tenantConfigFrom(answer, tenantId, settings);
    } catch (error) {
      if (forbidsServing(error)) owners.leave(tenantId);
      throw error;
    }
  }

  /** Looks whether a vhost's owner still has it: it may have moved away, or be gone. While nobody can say, the vhost stays its own. */
  async function releaseVhost(owner: TenantId, { rabbitmq }: TenantConfig): Promise<void> {
    try {
      const theirs = await askConfig(owner);
      if (!isSameVhost(theirs.rabbitmq, rabbitmq)) owners.leave(owner);
    } catch {}
  }

  const configs = new ConfigCache(
    async (tenantId) => {
      const config = await askConfig(tenantId);
      const owner = owners.otherThan(config);
      if (owner !== undefined) await releaseVhost(owner, config);
      try {
        owners.settle(config);
      } catch (error) {
        log?.warn(
          { tenantId, code: errorCode(error), reason: errorMessage(error) },
          'a tenant has no vhost of its own',
        );
        throw error;
      }
      return config;
    },
    { ttlMs: settings.MULTI_TENANT_CACHE_TTL_SEC * 1000, metrics },
  );

  /** A change of a tenant, after which nothing that was known of it is used unasked. */
  async function change<S extends z.ZodType>(call: ManagerCall<S> & { tenantId: TenantId }): Promise<z.output<S>> {
    try {
      return await ask(call);
    } finally {
      configs.forget(call.tenantId);
    }
  }

  const describeActive = (signal?: AbortSignal) => {
    const path = `/v1/tenants/active?service=${service}`;
    return ask({ name: 'active', method: 'GET', path, answer: activeTenantsAnswer, signal });
  };

  return {
    get breaker(): BreakerState {
      return breaker.state;
    },
    describeActive,
    /**
     * Every tenant, with what the service is for it.
     *
     * @throws MatcherError `TENANT_MANAGER_LACKS_CALL`
     */
    async describeAll() {
      const path = `/v1/tenants?service=${service}`;
      return ask({ name: 'all', method: 'GET', path, answer: activeTenantsAnswer, extension: true });
    },
    async listActive(signal?: AbortSignal): Promise<TenantId[]> {
      const ids = (await describeActive(signal)).map((tenant) => tryCanonicalTenantId(tenant.id));
      return [...new Set(ids.filter((id) => id !== undefined))];
    },
    config: (tenantId: TenantId) => configs.get(tenantId),
    refresh: (tenantId: TenantId) => configs.refresh(tenantId),
    forget: (tenantId: TenantId) => configs.forget(tenantId),

    /** @throws MatcherError `ALREADY_EXISTS` */
    async create(tenant: NewTenant): Promise<{ id: TenantId; slug: string; status: string }> {
      const call = {
        name: 'create',
        method: 'POST',
        path: '/v1/tenants',
        body: tenant,
        answer: createdAnswer,
      } as const;
      const created = await ask(call);
      const id = canonicalTenantId(created.id);
      configs.forget(id);
      return { ...created, id };
    },
    /** @throws MatcherError `ALREADY_EXISTS` */
    async associate(
      tenantId: TenantId,
      body: { isolationMode: string; maxOpenConns?: number; maxIdleConns?: number },
    ): Promise<void> {
      const path = associationPath(tenantId);
      await change({ name: 'associate', method: 'POST', path, body, tenantId, answer: z.unknown() });
    },
    async suspend(tenantId: TenantId): Promise<void> {
      const path = `${associationPath(tenantId)}/suspend`;
      await change({ name: 'suspend', method: 'PUT', path, tenantId, answer: z.unknown() });
    },
    async reactivate(tenantId: TenantId): Promise<void> {
      const path = `${tenantPath(tenantId)}/reactivate`;
      await change({ name: 'reactivate', method: 'PUT', path, tenantId, answer: z.unknown() });
    },
    /**
     * Gives the tenant new passwords, of its database and its vhost, or of the one named.
     *
     * @throws MatcherError `TENANT_MANAGER_LACKS_CALL`
     */
    async rotateCredentials(tenantId: TenantId, credentialType?: 'database' | 'broker'): Promise<AssociationState> {
      const path = `${associationPath(tenantId)}/credentials/rotate`;
      const answer = associationAnswer;
      const body = { ...(credentialType && { credentialType }) };
      return change({ name: 'rotateCredentials', method: 'POST', path, body, tenantId, answer, extension: true });
    },
    /** @throws MatcherError `TENANT_MANAGER_LACKS_CALL` */
    async changeLimits(tenantId: TenantId, body: NewLimits): Promise<AssociationState> {
      const path = `${associationPath(tenantId)}/connection-settings`;
      const answer = associationAnswer;
      return change({ name: 'changeLimits', method: 'PUT', path, body, tenantId, answer, extension: true });
    },
    /**
     * Ends the tenant's use of the service; its data stays.
     *
     * @throws MatcherError `TENANT_MANAGER_LACKS_CALL`
     */
    async disassociate(tenantId: TenantId): Promise<AssociationState> {
      const path = associationPath(tenantId);
      const answer = associationAnswer;
      return change({ name: 'disassociate', method: 'DELETE', path, tenantId, answer, extension: true });
    },
  };
}
