import { once } from 'node:events';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { createRedis } from '@matcher/shared/redis/tenant-redis.ts';
import { createFetcherClient, type FetcherClient } from '@matcher/shared/secrets/fetcher-client.ts';
import { createM2MCredentials, type M2MCredentialSource } from '@matcher/shared/secrets/m2m-credentials.ts';
import { createM2MTokens, type M2MTokenSource } from '@matcher/shared/secrets/m2m-token.ts';
import { createSecretReader } from '@matcher/shared/secrets/secrets-manager.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { quietLog, tenantOf } from './tenant-session.ts';

/** How long (ms) Redis may take; without it credentials come from Secrets Manager each time. */
const redisTimeout = 5000;

/** Machine-to-machine authentication, as a process of multi-tenant mode has it. */
export interface M2M {
  readonly credentials: M2MCredentialSource;
  readonly tokens: M2MTokenSource;
  /** Whether the cache in Redis could be reached. */
  readonly cached: boolean;
}

export interface FetcherSession {
  readonly tenantId: TenantId;
  readonly settings: Settings;
  readonly fetcher: FetcherClient;
  /** Absent in single-tenant mode, where the Fetcher is called without a token. */
  readonly m2m: M2M | undefined;
}

/** Runs `work` with a client of the Fetcher, put together as the settings say, and disconnects whatever happens. */
export async function withFetcher<T>(
  tenant: string | undefined,
  work: (session: FetcherSession) => Promise<T>,
): Promise<T> {
  const settings = loadSettings('fetcher');
  const tenantId = tenantOf(settings, tenant);
  const log = quietLog(settings);
  if (!settings.MULTI_TENANT_ENABLED) {
    const fetcher = createFetcherClient({ settings, tokens: undefined, log });
    return await work({ tenantId, settings, fetcher, m2m: undefined });
  }
  return await withM2M(settings, log, (m2m) => {
    const fetcher = createFetcherClient({ settings, tokens: m2m.tokens, log });
    return work({ tenantId, settings, fetcher, m2m });
  });
}

async function withM2M<T>(settings: Settings, log: Logger, work: (m2m: M2M) => Promise<T>): Promise<T> {
  const redis = createRedis(settings, log);
  const secrets = createSecretReader(settings);
  try {
    const cached = await once(redis, 'ready', { signal: AbortSignal.timeout(redisTimeout) }).then(
      () => true,
      () => false,
    );
    const credentials = createM2MCredentials({ settings, redis, secrets, log });
    return await work({ credentials, tokens: createM2MTokens({ settings, credentials }), cached });
  } finally {
    redis.disconnect();
    secrets.close();
  }
}
