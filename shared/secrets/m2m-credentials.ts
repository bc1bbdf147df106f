import type { Redis } from 'ioredis';
import type { Settings } from '../config/variables.ts';
import { errorCode } from '../errors.ts';
import type { Logger } from '../observability/log.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import { m2mSecretName, secretNameHash } from './m2m-path.ts';
import { m2mRedisCache } from './m2m-redis-cache.ts';
import { type M2MCredentials, parseM2MSecret, sameCredentials } from './m2m-secret.ts';
import type { SecretReader } from './secrets-manager.ts';
import { type Remembered, TenantMemory } from './tenant-memory.ts';

/** The first level of the cache (Tenant Manager contract, "Machine-to-machine credentials"). */
const memoryMs = 30_000;
/** Long enough that a tenant's burst of jobs asks once for what is not there, short enough to be right soon after it is put there. */
const failureMs = 5000;

/** Errors that are about the secret. The others are about the moment, and the next caller asks again. */
const lasting = new Set([
  'M2M_SECRET_NOT_FOUND',
  'M2M_SECRET_ACCESS_DENIED',
  'M2M_SECRET_BINARY',
  'M2M_SECRET_MALFORMED',
  'M2M_CLIENT_ID_MISSING',
  'M2M_CLIENT_SECRET_MISSING',
  'M2M_TARGET_URL_INVALID',
]);

/** Every tenant's client for the target service, for one process. */
export interface M2MCredentialSource {
  /**
   * From memory, else from Redis, else from Secrets Manager. A caller that gives up does not disturb the others.
   *
   * @throws MatcherError as {@link SecretReader.read} and {@link parseM2MSecret} do; the signal's reason.
   */
  get(tenantId: TenantId, signal?: AbortSignal): Promise<M2MCredentials>;
  /**
   * After the target or the authorization service refused `rejected`: both levels of the cache forget them, and Secrets Manager is
   * asked, unless another caller of this process already did so. They may be the same again, when the secret was not changed.
   */
  renew(tenantId: TenantId, rejected: M2MCredentials, signal?: AbortSignal): Promise<M2MCredentials>;
}

export interface M2MCredentialParts {
  settings: Settings;
  redis: Redis;
  secrets: SecretReader;
  log: Logger;
  /** Milliseconds, never going back. */
  now?: () => number;
}

export function createM2MCredentials(parts: M2MCredentialParts): M2MCredentialSource {
  const { settings, redis, secrets, log, now = () => performance.now() } = parts;
  const shared = m2mRedisCache(redis, settings, log);
  const memory = new TenantMemory<M2MCredentials>({
    now,
    keepFailure: (error) => (lasting.has(errorCode(error)) ? failureMs : 0),
  });
  const remembered = (value: M2MCredentials): Remembered<M2MCredentials> => ({ value, until: now() + memoryMs });

  async function ask(tenantId: TenantId): Promise<Remembered<M2MCredentials>> {
    const targetService = settings.M2M_TARGET_SERVICE;
    const name = m2mSecretName({
      environment: settings.MULTI_TENANT_ENVIRONMENT,
      tenantOrgId: tenantId,
      targetService,
    });
    const text = await secrets.read(name);
    const credentials = parseM2MSecret(text, name, settings.MULTI_TENANT_ALLOW_INSECURE_HTTP);
    log.info({ tenantId, targetService, path: secretNameHash(name) }, 'machine-to-machine credentials were read');
    await shared.write(tenantId, credentials);
    return remembered(credentials);
  }

  return {
    get(tenantId, signal) {
      const load = async () => {
        const kept = await shared.read(tenantId);
        return kept ? remembered(kept) : ask(tenantId);
      };
      return memory.get(tenantId, load, signal);
    },
    renew(tenantId, rejected, signal) {
      const load = async () => {
        await shared.clear(tenantId);
        return ask(tenantId);
      };
      return memory.renew(tenantId, (kept) => sameCredentials(kept, rejected), load, signal);
    },
  };
}
