import { loadSettings } from '@matcher/shared/config/load.ts';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import { TenantDirectory } from '@matcher/shared/tenancy/directory.ts';
import { createTenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';
import { lifecycleChannel } from '@matcher/shared/tenancy/wire.ts';
import { Redis } from 'ioredis';
import { newTenantId } from './databases.ts';
import { until } from './fleet.ts';
import { startFixture } from './tenant-manager.ts';
import { testLog } from './test-log.ts';

/** Settings with which a directory hears of no event. */
export const deaf = { MULTI_TENANT_REDIS_HOST: '' };

export type Directories = Awaited<ReturnType<typeof startDirectories>>;

/** A deployment with a Tenant Manager, and directories of its tenants. */
export async function startDirectories() {
  const manager = await startFixture();
  const redis = new Redis({
    host: process.env.MULTI_TENANT_REDIS_HOST as string,
    port: Number(process.env.MULTI_TENANT_REDIS_PORT),
    ...(process.env.MULTI_TENANT_REDIS_PASSWORD ? { password: process.env.MULTI_TENANT_REDIS_PASSWORD } : {}),
  });
  const running: TenantDirectory[] = [];
  const environment = manager.settings.MULTI_TENANT_ENVIRONMENT as string;

  /** A worker's settings in the deployment. Unless a test says otherwise, no periodic comparison helps out. */
  const settings = (env: NodeJS.ProcessEnv = {}) =>
    loadSettings('publisher', {
      ...process.env,
      MULTI_TENANT_ENABLED: 'true',
      MULTI_TENANT_URL: manager.address,
      MULTI_TENANT_SERVICE_API_KEY: manager.settings.MULTI_TENANT_SERVICE_API_KEY,
      MULTI_TENANT_ENVIRONMENT: environment,
      MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '3600',
      ...env,
    });

  const event = (fields: object = {}) => ({
    event_id: 'e1',
    event_type: 'tenant.service.associated',
    timestamp: new Date().toISOString(),
    tenant_id: newTenantId() as string,
    tenant_slug: 'x',
    environment,
    payload: { service_name: 'matcher' },
    ...fields,
  });

  return {
    manager,
    redis,
    settings,
    event,
    publish: (message: string | object) =>
      redis.publish(lifecycleChannel(environment), typeof message === 'string' ? message : JSON.stringify(message)),
    suspend: (id: string) => manager.call('PUT', `/v1/tenants/${id}/associations/matcher/suspend`),
    reactivate: (id: string) => manager.call('PUT', `/v1/tenants/${id}/reactivate`),

    /** A directory that has read its first list, and has subscribed to events if there are any to be heard. */
    async start(env: NodeJS.ProcessEnv = {}, source?: TenantSource) {
      const own = settings(env);
      const { log, lines } = testLog();
      const client = source ?? createTenantManagerClient(own);
      const asked = { lists: 0, forgotten: [] as TenantId[], refreshed: [] as TenantId[] };
      const metrics = createMetrics();
      const watched: TenantSource = {
        listActive: (signal) => {
          asked.lists++;
          return client.listActive(signal);
        },
        config: client.config,
        refresh: (tenantId) => {
          asked.refreshed.push(tenantId);
          return client.refresh(tenantId);
        },
        forget: (tenantId) => {
          asked.forgotten.push(tenantId);
          client.forget(tenantId);
        },
      };
      const directory = new TenantDirectory(watched, own, log, metrics);
      running.push(directory);
      const changes: [string, TenantId][] = [];
      for (const what of ['added', 'removed', 'changed'] as const) {
        directory.on(what, (tenantId) => changes.push([what, tenantId]));
      }
      directory.start();
      const logged = (text: string) => lines.filter((line) => line.includes(text));
      await until(() => directory.known && (!own.MULTI_TENANT_REDIS_HOST || logged('subscribed').length > 0));
      // The subscription is itself a reason to compare.
      await directory.compare();
      return { directory, changes, asked, logged, metrics };
    },

    /** Ends the directories that were started. */
    async stopAll() {
      await Promise.all(running.splice(0).map((directory) => directory.stop()));
    },
    async close() {
      redis.disconnect();
      await manager.close();
    },
  };
}

/** A source that knows no more than a list. */
export const listOnly = (list: () => Promise<TenantId[]>): TenantSource => ({
  listActive: list,
  config: () => Promise.reject(new Error('nobody asks')),
  refresh: () => Promise.reject(new Error('nobody can say')),
  forget: () => {},
});
